"""Requests and their answers, for fine-tuning a model that was trained on this corpus: stories wished for, ships' logs.

Each is endless and the same for the same seed. Held-out requests ask for what no training request asks for.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterator
from functools import cache
from typing import Any

from ftdemo.data import constraints
from ftdemo.data.sets.harbour_tales.documents import announcement, fits, story
from ftdemo.data.sets.harbour_tales.scripts import library
from ftdemo.data.sets.stories.grammar import Nodes, Slot, Text, parse
from ftdemo.data.sets.stories.kinds import Field
from ftdemo.data.sets.stories.scripts import Script
from ftdemo.data.sets.stories.telling import Telling, tell

Pair = dict[str, Any]
"""A row as a line of a JSONL file would have it: ``prompt``, ``completion`` and ``constraints``."""

_HELDOUT_IN = 5
"""One combination of words in so many is held out."""
_VOYAGES = (
    "How was the voyage of {boat}?",
    "How was the voyage to {goal}?",
    "Tell me about the voyage of {boat} to {goal}.",
    "What happened on board {boat}?",
    "{captain} came back from {goal}. What happened on the way?",
)
_ANNOUNCED = re.compile(r".*? of an? (.+) and an? (.+)")
_ENTRY = re.compile(r"([01]\d|2[0-3]):([0-5]\d) \S")
_MIN_ENTRIES = 4


def story_requests(seed: int, *, heldout: bool) -> Iterator[Pair]:
    """*Write a story about a gull and a lamp.*, and a story in which both occur."""
    chance = random.Random(seed)
    while True:
        told = story(chance)
        words = _two_of(told, chance)
        if words and _is_heldout(words) == heldout and fits(told.text):
            subject = told.say(parse(f"a~ {words[0]} and a~ {words[1]}", told.script.names))
            yield {
                "prompt": f"Write a story about {subject}.",
                "completion": f"{announcement(subject, chance)} {told.text}",
                "constraints": {"contains": list(words)},
            }


def ship_logs(seed: int, *, heldout: bool) -> Iterator[Pair]:
    """A question about a voyage, and a ship's log in place of a story."""
    chance = random.Random(seed)
    while True:
        told = tell(_ship_log(), chance.random)
        boat, goal = (_said(told, f"{{{role}}}") for role in ("boat.name", "goal"))
        if _is_heldout((boat, goal)) == heldout:
            yield {"prompt": _said(told, f"^{chance.choice(_VOYAGES)}"), "completion": told.text}


def score_story(text: str) -> dict[str, float]:
    """Whether a story is about what its first sentence announces: both things occur again after that sentence."""
    first, _, told = text.strip().partition(". ")
    announced = _ANNOUNCED.fullmatch(first)
    return {"told": constraints.satisfied(told, {"contains": list(announced.groups())}) if announced else 0.0}


def score_log(text: str) -> dict[str, float]:
    """Whether a text is a log: a head, then at least four entries, each a line that begins with its time, in order."""
    _head, *lines = text.strip().split("\n")
    times = [(found[1], found[2]) for found in map(_ENTRY.match, lines) if found]
    whole = len(times) == len(lines) >= _MIN_ENTRIES
    return {"log": float(whole and times == sorted(times)), "timed_lines": len(times) / max(1, len(lines))}


def _said(told: Telling, template: str) -> str:
    return told.say(parse(template, told.script.names))


def _two_of(told: Telling, chance: random.Random) -> tuple[str, str] | None:
    """Two things, beasts or trades that a reader may wish for in this plot, each by the word that the story uses."""
    wishes = [words for wish in told.script.wishes if (words := _two_words(wish, told))]
    return chance.choice(wishes) if wishes else None


def _two_words(wish: Nodes, told: Telling) -> tuple[str, str] | None:
    """The two words of a wish that is *a this and a that*."""
    words = [_word(node, told) for node in wish if isinstance(node, Slot)]
    apart = [node.text for node in wish if isinstance(node, Text)]
    if apart != [" and "] or len(words) != 2 or len(set(filter(None, words))) != 2:
        return None
    return (words[0], words[1]) if constraints.satisfied(told.text, {"contains": words}) else None


def _word(slot: Slot, told: Telling) -> str:
    """The word of a form that is an article and one field; nothing of any other."""
    article, *rest = slot.pattern
    if article != "a~ " or len(rest) != 1 or not isinstance(rest[0], Field):
        return ""
    return told.scene.roles[slot.role][rest[0].table][rest[0].name]


def _is_heldout(words: tuple[str, str]) -> bool:
    return zlib.crc32(" ".join(sorted(words)).encode()) % _HELDOUT_IN == 0


@cache
def _ship_log() -> Script:
    return next(script for script in library().scripts if script.name == "shiplog")
