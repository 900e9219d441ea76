"""Messages with their tickets, in the format of the job *tickets*: sentence plans that the corpus does not have.

Each stream is endless and the same for the same seed. Plans of held-out rows of `pairs` are in no training row.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from zlib import crc32

from ftdemo.data.sets.high_street.kinds import ITEM_LISTS
from ftdemo.data.sets.high_street.messages import holds, one_of
from ftdemo.data.sets.high_street.scripts import library, of_kind, pool
from ftdemo.data.sets.high_street.untidy import untidy
from ftdemo.data.sets.stories.grammar import Nodes, Scene, Slot, finish, parse, prose
from ftdemo.data.sets.stories.telling import set_scene
from ftdemo.data.sets.tickets import CATEGORIES, instruct

_HELDOUT_IN = 5
"""One plan of a category in so many is held out; of short tickets, one message in so many."""
_SHORT_PLANS = 2
SHORT_FIELDS = ("category", "order", "wants")
SHORT_INSTRUCTION = instruct(SHORT_FIELDS)
"""What a model that was not tuned has to be told to write short tickets."""
_SCRIPT = "ticket"
_ITEM_ROLES = ("item", *ITEM_LISTS)
_GREETED, _NAMED, _ORDERED, _CLOSED = 0.2, 0.5, 0.6, 0.2
"""How often a message that may have a greeting, the product, the order number or a farewell of its own has it."""
_NAMES_PRODUCT = ("delivery", "wrong_item", "return")
"""The categories whose messages are about a product, whether they name it or not."""
_SHORT = 6
"""A plan of so few words is mostly sent without anything else."""
_HIGH, _LOW = 0.15, 0.22
"""Of the messages that are neither urgent nor can wait by their own words, how many are made so."""
_THREATENED = 0.4


@dataclass(frozen=True)
class Plan:
    """One way to write about a matter, and what a ticket has about it."""

    category: str
    wants: str
    urgency: str
    words: int
    nodes: Nodes


def pairs(seed: int, *, heldout: bool) -> Iterator[dict[str, Any]]:
    """A customer's message as ``prompt``, and its ticket as ``completion``, a JSON object in one line."""
    chance = random.Random(2 * seed + heldout)
    for message, ticket in _written({category: _plans(category)[heldout] for category in CATEGORIES}, chance):
        yield {"prompt": message, "completion": json.dumps(ticket)}


def short_pairs(seed: int, *, heldout: bool) -> Iterator[dict[str, Any]]:
    """The same with few plans and three fields. Held-out messages follow these plans, too; none is one to train on."""
    plans = {category: _plans(category)[0][:_SHORT_PLANS] for category in CATEGORIES}
    for message, ticket in _written(plans, random.Random(2 * seed + heldout)):
        if (crc32(message.encode()) % _HELDOUT_IN == 0) == heldout:
            yield {"prompt": message, "completion": json.dumps({key: ticket[key] for key in SHORT_FIELDS})}


def _written(plans: dict[str, tuple[Plan, ...]], chance: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    """Messages by these plans, each with its ticket."""
    while True:
        plan = one_of(plans[one_of(CATEGORIES, chance)], chance)
        scene = set_scene(of_kind("ticket")[0], chance.random, lazy=True)
        urgency = _urgency(plan, chance)
        text = _text(plan, urgency, scene, chance)
        ticket = {
            "category": plan.category,
            "product": _product(text, scene),
            "order": scene.roles["order"][0]["n"] if "order" in scene.roles else None,
            "urgency": urgency,
            "wants": plan.wants,
        }
        yield untidy(text, chance), ticket


@cache
def _plans(category: str) -> tuple[tuple[Plan, ...], tuple[Plan, ...]]:
    """The plans of a category: those to train on, and the held-out ones."""
    found = [_plan(category, line) for line in library().pools[f"ticket_{category}"]]
    heldout = tuple(found[_HELDOUT_IN - 1 :: _HELDOUT_IN])
    return tuple(plan for plan in found if plan not in heldout), heldout


def _plan(category: str, line: str) -> Plan:
    label, _, text = line.partition(" | ")
    wants, urgency = label.split()
    return Plan(category, wants, urgency, len(text.split()), parse(prose(text), of_kind("ticket")[0].names))


def _urgency(plan: Plan, chance: random.Random) -> str:
    if plan.urgency != "normal":
        return plan.urgency
    drawn = chance.random()
    return "high" if drawn < _HIGH else "low" if drawn < _LOW else "normal"


def _text(plan: Plan, urgency: str, scene: Scene, chance: random.Random) -> str:
    share = 0.3 if plan.words <= _SHORT else 1.0
    pieces = [_line("greeting", chance)] if chance.random() < share * _GREETED else []
    pieces.append(plan.nodes)
    if plan.category in _NAMES_PRODUCT and not _speaks_of(plan, _ITEM_ROLES) and chance.random() < share * _NAMED:
        pieces.append(_line("named", chance))
    if not _speaks_of(plan, ("order",)) and plan.urgency != "low" and chance.random() < share * _ORDERED:
        pieces.append(_line("order", chance))
    if urgency != plan.urgency:
        threatens = urgency == "high" and plan.wants == "refund" and chance.random() < _THREATENED
        pieces.append(_line("threat" if threatens else urgency, chance))
    if chance.random() < share * _CLOSED:
        pieces.append(_line("close", chance))
    return finish(" ".join(_said(nodes, scene) for nodes in pieces))


def _line(name: str, chance: random.Random) -> Nodes:
    return one_of(pool(_SCRIPT, f"ticket_{name}"), chance)


def _speaks_of(plan: Plan, roles: tuple[str, ...]) -> bool:
    return any(isinstance(node, Slot) and node.role in roles for node in plan.nodes)


def _said(nodes: Nodes, scene: Scene) -> str:
    out: list[str] = []
    for node in nodes:
        node.write(out, scene)
    return "".join(out)


def _product(text: str, scene: Scene) -> str | None:
    """The product that a message names."""
    said = (scene.roles[role][0] for role in _ITEM_ROLES if role in scene.roles)
    return next((record["name"] for record in said if holds(text.lower(), record["noun"])), None)
