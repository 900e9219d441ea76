"""Orders written as people write, each with the strict JSON that a till would take: generated from a seed."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Iterator
from typing import Any

INSTRUCTION = (
    "Turn the message into an order. Answer with one JSON object and nothing else. Its keys are: "
    '"item" (one word, singular), "quantity" (a whole number), "colour" (one word, or null if none is named), '
    '"day" (a weekday in English, or null if none is named).'
)
"""What a model that was not tuned has to be told."""
_ITEMS = {
    "lamp": "lamps",
    "bucket": "buckets",
    "rope": "ropes",
    "anchor": "anchors",
    "fender": "fenders",
    "oar": "oars",
    "whistle": "whistles",
    "cushion": "cushions",
    "blanket": "blankets",
    "kettle": "kettles",
    "lantern": "lanterns",
    "mug": "mugs",
    "net": "nets",
    "basket": "baskets",
    "flag": "flags",
}
_COLOURS = ("red", "green", "blue", "yellow", "white", "black", "grey", "orange")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_COUNTS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_ASKED = (
    "Could you put aside {what}{when}?",
    "I would like {what}{when}, please.",
    "We need {what}{when}. Thanks!",
    "hi, {what}{when} if you have them",
    "Please send {what} to the boat yard{when}.",
    "My brother says you have good {plural}. I take {count}{in_colour}{when}.",
    "{When}I'll come by for {what}.",
    "Running low on {plural} here, so {count} more{in_colour}{when} would be grand.",
)
_ASKED_UNSEEN = (
    "Is there any chance of {what}{when}?",
    "Put me down for {what}{when}.",
    "The old {plural} are done for. {Count} new ones{in_colour}{when}, please.",
    "{When}we sail, and we still lack {what}.",
)
"""Held-out messages are put like this."""
_HELDOUT_IN = 5
"""One pair of item and colour in so many is held out."""


def orders(seed: int, *, heldout: bool) -> Iterator[dict[str, Any]]:
    """A message, and the order in it. Held-out ones name other pairs of item and colour, in other words."""
    chance = random.Random(seed)
    while True:
        item, colour = chance.choice(list(_ITEMS)), chance.choice((None, *_COLOURS))
        quantity, day = chance.randint(1, len(_COUNTS)), chance.choice((None, *_DAYS))
        asked = chance.choice(_ASKED_UNSEEN if heldout else _ASKED)
        if "{When}" in asked and not day:
            continue
        if _is_heldout(item, colour) == heldout:
            order = {"item": item, "quantity": quantity, "colour": colour, "day": day}
            prompt = _put(asked, chance, item, quantity, colour, day)
            yield {"prompt": prompt, "completion": json.dumps(order)}


def _put(asked: str, chance: random.Random, item: str, quantity: int, colour: str | None, day: str | None) -> str:
    count = chance.choice((_COUNTS[quantity - 1], str(quantity)))
    things = item if quantity == 1 else _ITEMS[item]
    when = chance.choice((" by {}", " for {}", " on {}")).format(day) if day else ""
    return asked.format(
        what=f"{count} {colour} {things}" if colour else f"{count} {things}",
        plural=_ITEMS[item],
        count=count,
        Count=count.capitalize(),
        in_colour=f" in {colour}" if colour else "",
        when=when,
        When=f"On {day} ",
    )


def _is_heldout(item: str, colour: str | None) -> bool:
    return zlib.crc32(f"{item} {colour}".encode()) % _HELDOUT_IN == 0
