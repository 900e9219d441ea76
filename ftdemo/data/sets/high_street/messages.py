"""Customers' messages, each with what it says: the product, the order, the matter, what is asked for, how soon."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from ftdemo.data.sets.high_street.lexicon import word_lists
from ftdemo.data.sets.high_street.scripts import of_kind, pool
from ftdemo.data.sets.stories.grammar import Nodes, Scene, Text, finish
from ftdemo.data.sets.stories.kinds import Entity
from ftdemo.data.sets.stories.scripts import Script
from ftdemo.data.sets.stories.telling import set_scene

_Option = TypeVar("_Option")

_WORD = re.compile(r"[A-Za-z]+")
_LEVELS, _LEVEL_WEIGHTS = ("high", "normal", "low"), (0.23, 0.84, 1.0)
"""How urgent a message is, where its script leaves it open; the weights are cumulative."""
_PIECES = ("greeting", "from", "aside", "matter", "order", "ask", "hurry", "order", "aside", "close", "name")
"""What a message is put together from, in order; nothing is said twice."""
_ASKING_FIRST = ("greeting", "from", "aside", "ask", "order", "matter", "hurry", "order", "aside", "close", "name")
_SHARES = {"greeting": 0.3, "from": 0.12, "aside": 0.13, "order": 0.25, "close": 0.15, "name": 0.1}
"""How often each piece is there when its turn comes."""
_ALWAYS = ("matter", "ask", "hurry")
_WANTED = {"order": ("order", 0.5), "name": ("from", 0.75), "city": ("from", 0.75)}
"""The piece that says what a record asks for, and how often it is there then."""
_TERSE = {"order": 0.2, "name": 0.05}
"""The same, of a short message."""
RARE = {"price": "price", "colour": "colour", "size": "size", "count": "count"}
"""The role that a message needs to say a field that few messages say."""
_RARE_SHARE = 0.8
_ASKED_FIRST = 0.15
"""Of all messages, how many ask before they say what happened."""
_THREATENED = 0.3
"""Of the urgent messages that want money back, how many threaten."""


@dataclass(frozen=True)
class Message:
    """A message in tidy words, and what it says."""

    text: str
    fields: Mapping[str, str | None]
    """What it says about each of `FIELDS`; `None` if it says nothing. What it says in two ways is left out."""


FIELDS = ("item", "order", "topic", "wants", "hurry", "name", "city", "day", "date", "price", "colour", "size", "count")


def one_of(options: Sequence[_Option], chance: random.Random) -> _Option:
    """One of several, each as likely as the others."""
    return options[int(chance.random() * len(options))]


def message(chance: random.Random, wanted: Iterable[str] = ()) -> Message:
    """A message in tidy words, which more often than not says the fields that are wanted."""
    script = _script(wanted, chance)
    scene = set_scene(script, chance.random, lazy=True)
    fixed = scene.case.get("hurry")
    hurry = _plain(fixed, scene) if fixed else chance.choices(_LEVELS, cum_weights=_LEVEL_WEIGHTS)[0]
    usual = _TERSE if script.name.startswith("short") else _SHARES
    shares = {**usual, **dict(_WANTED[field] for field in wanted if field in _WANTED)}
    text = _text(script, scene, "" if fixed else hurry, shares, chance)
    case = {name: _plain(scene.case[name], scene) for name in ("topic", "wants")}
    return Message(text, {**_heard(text, scene.roles), **case, "hurry": hurry})


def _script(wanted: Iterable[str], chance: random.Random) -> Script:
    """A script of any topic; where a rare field is wanted, most often one that may say it."""
    rare = next((RARE[field] for field in wanted if field in RARE), None)
    if rare and chance.random() < _RARE_SHARE:
        return one_of(_with_role(rare), chance)
    return one_of(one_of(_by_topic(), chance), chance)


@cache
def _with_role(role: str) -> tuple[Script, ...]:
    kind = "number_pair" if role == "count" else None
    scripts = (script for script in of_kind("message") if role in script.roles)
    return tuple(script for script in scripts if kind in (None, script.roles[role].name))


@cache
def _by_topic() -> tuple[tuple[Script, ...], ...]:
    """The scripts of messages in groups, one for each topic, so that every topic is as frequent as the others."""
    groups: dict[str, list[Script]] = {}
    for script in of_kind("message"):
        node = script.cases[0]["topic"][0]
        groups.setdefault(node.text if isinstance(node, Text) else "", []).append(script)
    return tuple(map(tuple, groups.values()))


def _text(script: Script, scene: Scene, hurry: str, shares: Mapping[str, float], chance: random.Random) -> str:
    pieces = _PIECES if chance.random() >= _ASKED_FIRST else _ASKING_FIRST
    said: list[str] = []
    done: set[str] = set()
    for piece in pieces:
        if piece in _ALWAYS or (piece not in done and chance.random() < shares.get(piece, 0.0)):
            nodes = _nodes(piece, script, scene, hurry, chance)
            if nodes:
                said.append(_after(said, _plain(nodes, scene, capital=piece == "ask")))
                done.add(piece)
    return finish(" ".join(said))


def _nodes(piece: str, script: Script, scene: Scene, hurry: str, chance: random.Random) -> Nodes:
    if piece == "matter":
        return one_of(script.beats[0].lines, chance)
    if piece == "ask":
        return scene.case["ask"]
    if piece == "hurry":
        return one_of(pool(script.name, _hurried(hurry, scene, chance)), chance) if hurry in ("high", "low") else ()
    return one_of(pool(script.name, piece), chance)


def _hurried(hurry: str, scene: Scene, chance: random.Random) -> str:
    """The pool of the words for a hurry: who wants money back may threaten."""
    threatens = hurry == "high" and _plain(scene.case["wants"], scene) == "refund" and chance.random() < _THREATENED
    return "threat" if threatens else hurry


def _plain(nodes: Nodes, scene: Scene, *, capital: bool = False) -> str:
    out = ["^"] if capital else []
    for node in nodes:
        node.write(out, scene)
    return "".join(out)


def _after(said: list[str], text: str) -> str:
    """A piece without its capital, if what it follows ends in a comma."""
    return text.removeprefix("^") if said and said[-1].endswith(",") else text


def _heard(text: str, roles: Mapping[str, Entity]) -> dict[str, str | None]:
    """What a text says about its roles."""
    words = frozenset(_WORD.findall(text))
    number = roles["order"][0]["n"] if "order" in roles else None
    found: dict[str, str | None] = {"order": number, "item": None}
    if "item" in roles:
        item = roles["item"][0]
        if any(holds(text.lower(), item[form].lower()) for form in ("noun", "nouns")):
            found["item"] = item["name"]
    name = roles["who"][0]["name"] if "who" in roles else None
    found["name"] = name if name in words else None
    found["colour"] = _if_said(text, roles, "colour", "word")
    found["date"] = _if_said(text, roles, "date", "short")
    found["count"] = roles["count"][0]["high"] if "count" in roles and "high" in roles["count"][0] else None
    size = _if_said(text, roles, "size", "cm")
    found["size"] = f"{size} cm" if size else None
    several = {"day": words & _known("week"), "city": words & _known("city"), "price": _amounts(text, roles)}
    found.update({name: next(iter(values), None) for name, values in several.items() if len(values) < 2})
    return found


def _if_said(text: str, roles: Mapping[str, Entity], role: str, field: str) -> str | None:
    return roles[role][0][field] if role in roles and holds(text, roles[role][0][field]) else None


def _amounts(text: str, roles: Mapping[str, Entity]) -> frozenset[str]:
    record = roles["price"][0] if "price" in roles else {}
    return frozenset(record[name] for name in ("price", "high") if name in record and holds(text, record[name]))


@cache
def _known(name: str) -> frozenset[str]:
    return frozenset(word_lists()[name].entries)


def holds(text: str, value: str) -> bool:
    """Whether a text holds a value as words and figures of its own."""
    start = text.find(value)
    while start >= 0:
        before, after = text[start - 1 : start], text[start + len(value) : start + len(value) + 2]
        if not (before.isalnum() or after[:1].isalnum() or (after[:1] == "." and after[1:].isdigit())):
            return True
        start = text.find(value, start + 1)
    return False
