"""The scripts of the harbour town, read once, and the checker of their sentences."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ftdemo.data.sets.harbour_tales.kinds import kinds
from ftdemo.data.sets.stories.check import Checker
from ftdemo.data.sets.stories.scripts import Library, read_library

ANNOUNCEMENTS = (
    "This is the tale of {}.",
    "Here is the story of {}.",
    "Hear the tale of {}.",
    "So begins the story of {}.",
)
"""With what is wished for filled in: the sentence that a story may begin with."""
_PROSE = ("story", "facts", "portrait")
"""The kinds whose sentences the checker knows."""


@cache
def library() -> Library:
    """The scripts of all files, in the order of the file names."""
    return read_library(Path(__file__).parent / "scripts", kinds(), ANNOUNCEMENTS)


@cache
def _checker() -> Checker:
    return Checker(library(), _PROSE)


def sentence_parses(sentence: str) -> bool:
    """Whether some sentence template of a story, a portrait or a text of fact makes exactly this sentence."""
    return _checker().parses(sentence)
