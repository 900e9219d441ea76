"""The machinery of generated corpora: word lists, template lines, scripts, their telling, a checker of sentences."""
