"""Where a name leads, how weights come in, what a new model is, and the kernels that make them fast."""
