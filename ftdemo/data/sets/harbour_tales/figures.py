"""Tables of figures: sums, clock times and readings whose numbers agree with each other."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

from ftdemo.data.sets.harbour_tales.lexicon import word_lists

Records = tuple[dict[str, str], ...]

_SEED = 20
_ROWS = 4000


def _entries(name: str) -> tuple[str, ...]:
    return word_lists()[name].entries


def _word(number: int) -> str:
    return _entries("number")[number]


@cache
def counts() -> Records:
    """Numbers from two to twenty, in figures and in words."""
    return tuple({"n": str(n), "word": _word(n)} for n in range(2, 21))


@cache
def sales() -> Records:
    """So many pieces at so many crowns each, and what they come to; then change out of a larger sum."""
    rows = []
    for count in range(2, 7):
        for price in range(2, 6):
            total = count * price
            paid = ((total + 1) // 10 + 1) * 10
            figures = {"count": _word(count), "price": _word(price), "n": str(count), "each": str(price)}
            rows.append({**figures, "total": str(total), "paid": str(paid), "change": str(paid - total)})
    return tuple(rows)


@cache
def shares() -> Records:
    """A number of things shared out evenly among some hands."""
    return tuple(
        {"all": str(hands * each), "hands": _word(hands), "each": _word(each), "n": str(hands), "m": str(each)}
        for hands in range(2, 9)
        for each in range(2, 13)
    )


@cache
def days() -> Records:
    """Weekdays with the day before and the day after."""
    names = _entries("week")
    return tuple(
        {"day": day, "before": names[i - 1], "after": names[(i + 1) % 7], "later": names[(i + 2) % 7]}
        for i, day in enumerate(names)
    )


@cache
def months() -> Records:
    """Months with the one that follows."""
    names = _entries("year")
    return tuple({"month": month, "after": names[(i + 1) % 12]} for i, month in enumerate(names))


@cache
def clocks() -> Records:
    """Five times of one day in order, from the morning on."""
    return _times(_SEED, 6)


@cache
def watches() -> Records:
    """Five times of one day in order, from the small hours on."""
    return _times(_SEED + 3, 0)


def _times(seed: int, earliest_hour: int) -> Records:
    chance = random.Random(seed)
    rows = []
    for _ in range(_ROWS):
        times = [chance.randrange(earliest_hour * 60, 10 * 60, 5)]
        for _ in range(4):
            times.append(times[-1] + chance.randrange(15, 180, 5))
        rows.append({name: f"{time // 60:02d}:{time % 60:02d}" for name, time in zip("abcde", times, strict=True)})
    return tuple(rows)


@cache
def ledgers() -> Records:
    """Three sales of a day, their sums and the total."""
    chance = random.Random(_SEED + 1)
    return tuple(_ledger(chance) for _ in range(_ROWS))


def _ledger(chance: random.Random) -> dict[str, str]:
    row: dict[str, str] = {}
    total = 0
    for name in "abc":
        count, price = chance.randint(2, 24), chance.randint(2, 18)
        row |= {f"n{name}": str(count), f"p{name}": str(price), f"s{name}": str(count * price)}
        total += count * price
    rate = chance.choice((5, 10, 20, 25))
    off = total * rate // 100
    return {**row, "total": str(total), "rate": str(rate), "off": str(off), "due": str(total - off)}


@cache
def readings() -> Records:
    """Small readings for logs and notices."""
    chance = random.Random(_SEED + 2)
    return tuple(_reading(chance) for _ in range(_ROWS))


def _reading(chance: random.Random) -> dict[str, str]:
    date = {
        "day": str(chance.randint(1, 28)),
        "month": str(chance.randint(1, 12)),
        "year": str(chance.randint(1871, 1989)),
    }
    depth = {
        "depth": f"{chance.randint(1, 9)}.{chance.randint(0, 9)}",
        "deep": str(chance.randint(4, 40)),
        "feet": str(chance.randint(14, 70)),
    }
    glass = {
        "glass": str(chance.randint(968, 1036)),
        "knots": str(chance.randint(2, 38)),
        "half": str(chance.randint(2, 9)),
    }
    marks = {"order": str(chance.randint(1000, 9999)), "ref": f"{chance.choice('ABCKMT')}-{chance.randint(10, 99)}"}
    size = {"mm": str(chance.choice((6, 8, 10, 12, 14, 16, 20))), "percent": str(chance.randint(1, 19) * 5)}
    coins = {
        "crowns": str(chance.randint(2, 90)),
        "price": f"{chance.randint(1, 48)}.{chance.choice(('50', '25', '75'))}",
    }
    house = {
        "house": str(chance.randint(1, 64)),
        "hour": str(chance.randint(6, 11)),
        "weight": str(chance.randint(3, 95)),
    }
    return {**date, **depth, **glass, **marks, **size, **coins, **house}


@cache
def speakers() -> Records:
    """Who asks and who answers in a chat."""
    pairs = zip(_entries("asker"), _entries("answerer"), strict=True)
    return tuple({"a": asker, "b": answerer} for asker, answerer in pairs)


TABLES: dict[str, Callable[[], Records]] = {
    "count": counts,
    "sale": sales,
    "share": shares,
    "weekday": days,
    "month": months,
    "clock": clocks,
    "watch": watches,
    "ledger": ledgers,
    "reading": readings,
    "speakers": speakers,
}
