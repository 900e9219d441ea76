"""Trials of a model that was trained on this corpus: stories to continue, questions to answer, records to fill in."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from functools import cache, partial

from ftdemo.data.sets.high_street.documents import document, fits, story
from ftdemo.data.sets.high_street.lexicon import word_lists
from ftdemo.data.sets.high_street.records import record_text
from ftdemo.data.sets.high_street.scripts import sentence_parses
from ftdemo.data.sets.stories.tokens import sentences
from ftdemo.data.trial import Trial

_ASKED = ("facts", "story with questions")
_ANSWER_TOKENS = 32
_STORY_TOKENS = 192
_RECORD_TOKENS = 96
_CAPITALIZED = re.compile(r"\b[A-Z][a-z]+\b")
_RECORD = re.compile(r"(.*\n[A-Z][\w ]*:(?: \{\"\w+\":|\n[A-Z][\w ]*:))(.*)", re.DOTALL)
"""A message with the beginning of its record, up to the first key, and the rest of the record."""


def trials(seed: int) -> Iterator[Trial]:
    """An endless stream of trials, a story, a question and a record in turns, the same for the same seed."""
    chance = random.Random(seed)
    number = 0
    while True:
        yield _story(number + 1, _told(chance))
        yield _question(number + 2, _asked_about(chance), chance)
        yield _record(number + 3, chance)
        number += 3


def _told(chance: random.Random) -> str:
    """A story without a title."""
    while not fits(text := story(chance).text):
        pass
    return text


def _asked_about(chance: random.Random) -> str:
    """A text with questions."""
    while True:
        kind, text = document(chance)
        if kind in _ASKED and fits(text):
            return text


def _story(number: int, text: str) -> Trial:
    opening = sentences(text.split("\n\n")[0])[0]
    score = partial(score_story, opening, text)
    return Trial(number, opening, text[len(opening) :], score, _STORY_TOKENS)


def _question(number: int, text: str, chance: random.Random) -> Trial:
    told, *asked = text.split("\n\nQuestion: ")
    question, answer = chance.choice(asked).split("\nAnswer: ")
    opening = f"{told}\n\nQuestion: {question}\nAnswer:"
    return Trial(number, opening, f" {answer}", partial(score_answer, answer), _ANSWER_TOKENS)


def _record(number: int, chance: random.Random) -> Trial:
    """The last message of a text and the beginning of its record."""
    while not (found := _RECORD.fullmatch(record_text(chance))):
        pass
    return Trial(number, found[1], found[2], partial(score_record, found[2]), _RECORD_TOKENS)


def score_answer(answer: str, continuation: str) -> dict[str, float]:
    """Whether a continuation begins with exactly this answer on a line of its own."""
    return {"answered": float(continuation.split("\n")[0].strip() == answer)}


def score_record(record: str, continuation: str) -> dict[str, float]:
    """Whether a continuation begins with exactly this rest of a record, every field of it."""
    return {"copied": float(f"{continuation.rstrip()}\n".startswith(f"{record}\n"))}


def score_story(opening: str, text: str, continuation: str) -> dict[str, float]:
    """Whether every sentence of a continued story is one of the corpus's grammar, and whether its people stay.

    Questions that follow the story are no part of it. The last sentence may be cut off and is ignored; a continuation
    without any other scores 0. Names that come and go
    are used once, so the share of people who are named once only is compared with that share in as many words of the
    corpus's own text.
    """
    whole = (opening + continuation).split("\n\nQuestion:")[0]
    found = [sentence for paragraph in whole.split("\n\n") for sentence in sentences(paragraph)][:-1]
    told = " ".join(text.split(" ")[: len(whole.split(" "))])
    return {
        "parsed": float(len(found) > 1 and all(map(sentence_parses, found))),
        "named_once": _named_once(whole),
        "named_once_in_data": _named_once(told),
    }


def _named_once(text: str) -> float:
    """The share of the people named in a text whom it names once."""
    words = [word for word in _CAPITALIZED.findall(text) if word in _first_names()]
    people = set(words)
    return sum(words.count(name) == 1 for name in people) / len(people) if people else 0.0


@cache
def _first_names() -> frozenset[str]:
    lists = word_lists()
    return frozenset(lists["girl_name"].entries + lists["boy_name"].entries)
