"""The stream of texts: which kinds there are, in what shares, and how each is put together."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import accumulate
from typing import TypeVar

from ftdemo.data.sets.harbour_tales.scripts import ANNOUNCEMENTS, library
from ftdemo.data.sets.stories.scripts import Script
from ftdemo.data.sets.stories.telling import Telling, tell

_Option = TypeVar("_Option")

MIN_WORDS = 40
MAX_WORDS = 250
SHARES = {
    "story": 6,
    "wished story": 26,
    "story with questions": 19,
    "facts": 13,
    "dialogue": 5,
    "chat": 7,
    "letter": 4,
    "portrait": 3,
    "notice": 2,
    "how-to": 3,
    "log": 4,
    "list": 2,
    "message": 6,
}
"""Texts of each kind in a hundred."""

_TITLED = 0.3
_WISHED = 0.6
"""Of the stories with questions, how many begin with a wish."""
_MAX_QUESTIONS = 4
_WISHES = ("A tale of {}.", "The story of {}.", "About {}.", "Wanted: a story of {}.")
"""None is a request: to answer those is left to fine-tuning."""
_ANNOUNCED = 0.7
"""Of the stories after a wish, how many say first what they are about."""


def documents(seed: int = 0) -> Iterator[str]:
    """An endless stream of texts of 40 to 250 words, the same for the same seed."""
    chance = random.Random(seed)
    while True:
        text = document(chance)[1]
        if fits(text):
            yield text


def document(chance: random.Random) -> tuple[str, str]:
    """A kind, and a text of it, of whatever length it comes to."""
    kind = chance.choices(_KINDS, cum_weights=_WEIGHTS)[0]
    return kind, _MAKERS.get(kind, _plain)(kind, chance)


def story(chance: random.Random) -> Telling:
    """A story, with the scene it tells of."""
    return _tell_one("story", chance)


def fits(text: str) -> bool:
    """Whether a text is neither too short nor too long."""
    return MIN_WORDS <= len(text.split()) <= MAX_WORDS


def announcement(subject: str, chance: random.Random) -> str:
    """A sentence that says what the story after it is about."""
    return _one_of(ANNOUNCEMENTS, chance).format(subject)


def turns(text: str) -> list[str]:
    """What user and assistant say in turns, of a chat between those two; nothing of any other text."""
    lines = text.split("\n")
    named = [line.partition(": ") for line in lines]
    if [name for name, _, _ in named] != ["User", "Assistant"] * (len(lines) // 2):
        return []
    return [said for _, _, said in named]


@cache
def _scripts(kind: str) -> tuple[Script, ...]:
    return tuple(script for script in library().scripts if script.kind == kind)


def _tell_one(kind: str, chance: random.Random) -> Telling:
    return tell(_one_of(_scripts(kind), chance), chance.random)


def _one_of(options: Sequence[_Option], chance: random.Random) -> _Option:
    return options[int(chance.random() * len(options))]


def _plain(kind: str, chance: random.Random) -> str:
    return _tell_one(kind, chance).text


def _story(kind: str, chance: random.Random) -> str:
    told = story(chance)
    if chance.random() < _TITLED:
        return f"{_title(told, chance)}\n\n{told.text}"
    return told.text


def _title(told: Telling, chance: random.Random) -> str:
    return told.say(_one_of(told.script.titles, chance))


def _wished_story(kind: str, chance: random.Random) -> str:
    return _wished(story(chance), chance)


def _wished(told: Telling, chance: random.Random) -> str:
    subject = told.say(_one_of(told.script.wishes, chance))
    said = f"{announcement(subject, chance)} " if chance.random() < _ANNOUNCED else ""
    return f"{_one_of(_WISHES, chance).format(subject)}\n\n{said}{told.text}"


def _story_with_questions(kind: str, chance: random.Random) -> str:
    told = story(chance)
    text = _wished(told, chance) if chance.random() < _WISHED else told.text
    return "\n\n".join((text, *_questions(told, chance)))


def _facts(kind: str, chance: random.Random) -> str:
    told = _tell_one(kind, chance)
    return "\n\n".join((told.text, *_questions(told, chance)))


def _questions(told: Telling, chance: random.Random) -> list[str]:
    asks = chance.sample(told.script.asks, chance.randint(2, _MAX_QUESTIONS))
    return [f"Question: {told.say(question)}\nAnswer: {told.say(answer)}" for question, answer in asks]


_KINDS = tuple(SHARES)
_WEIGHTS = tuple(accumulate(SHARES.values()))
_MAKERS: dict[str, Callable[[str, random.Random], str]] = {
    "story": _story,
    "wished story": _wished_story,
    "story with questions": _story_with_questions,
    "facts": _facts,
}
