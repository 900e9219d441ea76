"""The word lists of the high street, read once."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ftdemo.data.sets.stories.lexicon import WordList, read_word_lists

WORDS = Path(__file__).parent / "words"


@cache
def word_lists() -> dict[str, WordList]:
    """Every list by its name."""
    return read_word_lists(WORDS)
