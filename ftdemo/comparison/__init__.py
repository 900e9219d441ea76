"""Prompting, retrieval or fine-tuning: the same questions by each, advice, A/B tests, and the workflow."""
