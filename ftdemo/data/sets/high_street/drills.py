"""Drills in copying: numbers, names and things that are written twice, with little between the two."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from ftdemo.data.sets.high_street.figures import pounds
from ftdemo.data.sets.high_street.lexicon import word_lists

Writer = Callable[[dict[str, str]], str]

_NUMBER_FORMS = ("{}", "{}", "#{}", "PF{}", "no. {}", "order {}", "ref {}")
_SEPARATORS = (", ", " - ", "; ", " / ", ". ")
_REPEATED = (", ", " = ", " ... ", " or ", " and ")
_KEYS = {
    "number": ("ref", "number", "order", "order_no", "code"),
    "name": ("name", "customer", "who", "caller"),
    "thing": ("item", "thing", "goods", "what"),
    "city": ("city", "town", "place", "where"),
    "price": ("price", "amount", "paid", "sum"),
}
_THINGS = ("gift", "tool", "food", "fruit", "plant", "clothing")
_REPEATS = 0.3
"""Of the drills, how many only repeat a number; the others fill in records."""


def drill(chance: random.Random) -> str:
    """Some numbers, each repeated; or some slips of paper, each with its record."""
    if chance.random() < _REPEATS:
        return "\n".join(_repeated(chance) for _ in range(chance.randint(3, 6)))
    fields = chance.sample(list(_KEYS), chance.randint(1, 3))
    if "number" not in fields:
        fields[chance.randrange(len(fields))] = "number"
    keys = {field: chance.choice(_KEYS[field]) for field in fields}
    write = chance.choice((_json, _json, _lines, _answers))
    return "\n\n".join(_slip(keys, write, chance) for _ in range(chance.randint(2, 4)))


def _repeated(chance: random.Random) -> str:
    number = _number(chance)
    said = [chance.choice(_NUMBER_FORMS).format(number) for _ in range(chance.randint(2, 4))]
    return chance.choice(_REPEATED).join(said)


def _slip(keys: dict[str, str], write: Writer, chance: random.Random) -> str:
    values = {field: _value(field, chance) for field in keys}
    said = [chance.choice(_NUMBER_FORMS).format(v) if f == "number" else v for f, v in values.items()]
    chance.shuffle(said)
    return f"{chance.choice(_SEPARATORS).join(said)}\n{write({keys[field]: values[field] for field in keys})}"


def _json(record: dict[str, str]) -> str:
    return json.dumps(record, ensure_ascii=False)


def _lines(record: dict[str, str]) -> str:
    return "\n".join(f"{key.replace('_', ' ').capitalize()}: {value}" for key, value in record.items())


def _answers(record: dict[str, str]) -> str:
    return "\n".join(
        f"Question: {key.replace('_', ' ').capitalize()}?\nAnswer: {value}" for key, value in record.items()
    )


def _number(chance: random.Random) -> str:
    return str(chance.randint(10_000, 99_999))


def _value(field: str, chance: random.Random) -> str:
    lists = word_lists()
    if field == "number":
        return _number(chance)
    if field == "price":
        return pounds(chance.randint(2, 180) * 50)
    if field == "city":
        return chance.choice(lists["city"].entries)
    if field == "name":
        return chance.choice(lists["girl_name"].entries + lists["boy_name"].entries)
    return chance.choice(lists[chance.choice(_THINGS)].entries).partition("/")[0]  # without its plural
