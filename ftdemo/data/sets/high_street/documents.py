"""The stream of texts: which kinds there are, in what shares, and how each is put together."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import accumulate, count

from ftdemo.data.sets.high_street.drills import drill
from ftdemo.data.sets.high_street.messages import holds, one_of
from ftdemo.data.sets.high_street.records import record_text, written_text
from ftdemo.data.sets.high_street.replies import reply_text
from ftdemo.data.sets.high_street.scripts import ANNOUNCEMENTS, of_kind
from ftdemo.data.sets.stories.grammar import Node, Nodes, Slot
from ftdemo.data.sets.stories.telling import Telling, tell

MIN_WORDS = 12
MAX_WORDS = 230
SHARES = {
    "message with record": 28,
    "record with message": 6,
    "notes with reply": 8,
    "facts": 18,
    "story with questions": 10,
    "wished story": 9,
    "story": 7,
    "chat": 5,
    "message read back": 5,
    "list": 4,
}
"""Texts of each kind in a hundred."""

_TEXTS_WITH_MORE, _LEAST_DRILLS = 14_000, 0.08
"""In the graded stream: among how many texts drills thin out, and their share from then on."""
_MAY_RECUR = 300
"""Texts of fewer characters could come again by chance, so the stream remembers them."""
_REMEMBERED = 500_000
_TITLED = 0.4
_WISHED = 0.5
"""Of the stories with questions, how many begin with a wish."""
_MAX_QUESTIONS = 4
_WISHES = ("A story about {}.", "About {}.", "Wanted: a story with {}.", "The story of {}.")
"""None is a request: answering requests is left to fine-tuning."""
_ANNOUNCED = 0.7
"""Of the stories after a wish, how many say first what they are about."""


def documents(seed: int = 0) -> Iterator[str]:
    """An endless stream of short texts, the same for the same seed."""
    chance = random.Random(seed)
    seen: set[bytes] = set()
    while True:
        text = document(chance)[1]
        if fits(text) and not (len(text) < _MAY_RECUR and _is_seen(text, seen)):
            yield text


def _is_seen(text: str, seen: set[bytes]) -> bool:
    """Whether a short text came before; if not, it is remembered."""
    key = blake2b(text.encode(), digest_size=8).digest()
    if len(seen) == _REMEMBERED:
        seen.clear()
    known = key in seen
    seen.add(key)
    return known


def graded(seed: int = 0) -> Iterator[str]:
    """The same kinds of text from easy to hard: drills in copying come first, and texts take their place by and by.

    A small model soon learns to copy from drills. From texts, in which little is copied, it learns that late.
    """
    chance = random.Random(seed)
    texts = documents(seed)
    for number in count():
        share = max(_LEAST_DRILLS, 1 - number / _TEXTS_WITH_MORE)
        yield drill(chance) if chance.random() < share else next(texts)


def document(chance: random.Random) -> tuple[str, str]:
    """A kind, and a text of it, of whatever length."""
    kind = chance.choices(_KINDS, cum_weights=_WEIGHTS)[0]
    return kind, _MAKERS[kind](chance)


def story(chance: random.Random) -> Telling:
    """A story, with the scene it tells of."""
    return _tell_one("story", chance)


def fits(text: str) -> bool:
    """Whether a text is neither too short nor too long."""
    return MIN_WORDS <= len(text.split()) <= MAX_WORDS


def turns(text: str) -> list[str]:
    """The turns of user and assistant in a text that is a chat between those two; empty for any other text."""
    lines = text.split("\n")
    named = [line.partition(": ") for line in lines]
    if [name for name, _, _ in named] != ["User", "Assistant"] * (len(lines) // 2):
        return []
    return [said for _, _, said in named]


def _tell_one(kind: str, chance: random.Random) -> Telling:
    return tell(one_of(of_kind(kind), chance), chance.random, lazy=True)


def _plain(kind: str) -> Callable[[random.Random], str]:
    return lambda chance: _tell_one(kind, chance).text


def _story(chance: random.Random) -> str:
    told = story(chance)
    if chance.random() < _TITLED:
        return f"{told.say(one_of(told.script.titles, chance))}\n\n{told.text}"
    return told.text


def _wished_story(chance: random.Random) -> str:
    return _wished(story(chance), chance)


def _wished(told: Telling, chance: random.Random) -> str:
    subject = told.say(_wish(told, chance))
    said = f"{one_of(ANNOUNCEMENTS, chance).format(subject)} " if chance.random() < _ANNOUNCED else ""
    return f"{one_of(_WISHES, chance).format(subject)}\n\n{said}{told.text}"


def _wish(told: Telling, chance: random.Random) -> Nodes:
    """A wish for what the story has: every script has one, because its people are always named."""
    said = told.text.lower()
    wishes = chance.sample(told.script.wishes, len(told.script.wishes))
    return next(wish for wish in wishes if all(_is_said(node, told, said) for node in wish))


def _is_said(node: Node, told: Telling, said: str) -> bool:
    """Whether a text names the entity of a slot by each of the fields that the slot names."""
    if not isinstance(node, Slot) or not node.role:
        return True
    entity = told.scene.roles.get(node.role)
    fields = [part for part in node.pattern if not isinstance(part, str)]
    return entity is not None and all(holds(said, entity[part.table][part.name].lower()) for part in fields)


def _story_with_questions(chance: random.Random) -> str:
    told = story(chance)
    text = _wished(told, chance) if chance.random() < _WISHED else told.text
    return "\n\n".join((text, *_questions(told, chance)))


def _facts(chance: random.Random) -> str:
    told = _tell_one("facts", chance)
    return "\n\n".join((told.text, *_questions(told, chance)))


def _questions(told: Telling, chance: random.Random) -> list[str]:
    """Two to four questions whose answers stand in the text; a line that was not said answers none."""
    said, roles = told.text.lower(), len(told.scene.roles)
    wanted = chance.randint(2, _MAX_QUESTIONS)
    found: list[str] = []
    for ask in chance.sample(told.script.asks, len(told.script.asks)):
        question, answer = map(told.say, ask)
        if len(told.scene.roles) == roles and holds(said, answer.lower()):
            found.append(f"Question: {question}\nAnswer: {answer}")
            if len(found) == wanted:
                break
        roles = len(told.scene.roles)  # a role that only the question names is new
    return found


_KINDS = tuple(SHARES)
_WEIGHTS = tuple(accumulate(SHARES.values()))
_MAKERS: dict[str, Callable[[random.Random], str]] = {
    "message with record": record_text,
    "record with message": written_text,
    "notes with reply": reply_text,
    "facts": _facts,
    "story with questions": _story_with_questions,
    "wished story": _wished_story,
    "story": _story,
    "chat": _plain("chat"),
    "message read back": _plain("message_read"),
    "list": _plain("list"),
}
