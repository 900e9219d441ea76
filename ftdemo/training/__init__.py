"""How a model is made ready and trained."""
