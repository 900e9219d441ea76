"""Runs on disk: carried out, written, read again, published."""
