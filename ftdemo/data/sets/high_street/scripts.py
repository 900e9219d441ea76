"""The scripts of the high street, read once, and the checker of their sentences."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ftdemo.data.sets.high_street.kinds import kinds
from ftdemo.data.sets.stories.check import Checker
from ftdemo.data.sets.stories.grammar import Nodes, parse, prose
from ftdemo.data.sets.stories.scripts import Library, Script, read_library

ANNOUNCEMENTS = (
    "This is the story of {}.",
    "Here is a story about {}.",
    "It is a story about {}.",
    "This story is about {}.",
)
"""With what is wished for filled in: the sentence that a story may begin with."""
_PROSE = ("story", "facts")
"""The kinds whose sentences the checker knows."""


@cache
def library() -> Library:
    """The scripts of all files, in the order of the file names."""
    return read_library(Path(__file__).parent / "scripts", kinds(), ANNOUNCEMENTS)


@cache
def of_kind(kind: str) -> tuple[Script, ...]:
    """The scripts of one kind."""
    return tuple(script for script in library().scripts if script.kind == kind)


@cache
def pool(script: str, name: str) -> tuple[Nodes, ...]:
    """The lines of a pool, about the roles of the script of that name."""
    names = next(found.names for found in library().scripts if found.name == script)
    return tuple(parse(prose(line), names) for line in library().pools[name])


@cache
def _checker() -> Checker:
    return Checker(library(), _PROSE)


def sentence_parses(sentence: str) -> bool:
    """Whether some sentence template of a story or of a text of fact makes exactly this sentence."""
    return _checker().parses(sentence)
