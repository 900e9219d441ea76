"""What is compared and claimed, and how it is carried out and recorded."""
