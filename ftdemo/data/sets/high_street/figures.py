"""Tables of figures: prices, sums, dates and clock times whose numbers agree with each other."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from functools import cache

from ftdemo.data.sets.high_street.lexicon import word_lists

Records = tuple[dict[str, str], ...]

_SEED = 23
_ROWS = 3000
_YEAR = 2025
"""Its weekdays are those of the dates, such as Tuesday 3 June."""
_PENCE = (0, 0, 0, 50, 95, 99, 45, 20)


def pounds(pence: int) -> str:
    """An amount of money as a price tag has it: `80p`, `£12` or `£12.50`."""
    if pence < 100:
        return f"{pence}p"
    return f"£{pence // 100}.{pence % 100:02d}" if pence % 100 else f"£{pence // 100}"


def _entries(name: str) -> tuple[str, ...]:
    return word_lists()[name].entries


def _word(number: int) -> str:
    return _entries("number")[number]


@cache
def counts() -> Records:
    """Numbers from two to twelve, in figures and in words."""
    return tuple({"n": str(n), "word": _word(n)} for n in range(2, 13))


@cache
def number_pairs() -> Records:
    """A number from two to eleven in figures and words, and a higher one."""
    return tuple(
        {"more": _word(more), "n": str(n), "word": _word(n), "high": str(more)}
        for more in range(3, 13)
        for n in range(2, more)
    )


@cache
def ages() -> Records:
    """Ages from eighteen to ninety, in figures."""
    return tuple({"n": str(n)} for n in range(18, 91))


@cache
def prices() -> Records:
    """An amount, half of it, a higher amount, and the difference of the two."""
    chance = random.Random(_SEED)
    rows = []
    for _ in range(_ROWS):
        low = chance.randint(1, 60) * 100 + chance.choice(_PENCE)
        high = low + chance.randint(1, 40) * 100
        figures = {"price": low, "high": high, "more": high - low, "half": low // 2}
        rows.append({name: pounds(value) for name, value in figures.items()})
    return tuple(rows)


@cache
def small_prices() -> Records:
    """What is paid at a counter: up to ten pounds."""
    return tuple({"price": pounds(pence)} for pence in range(60, 1000, 10))


@cache
def budgets() -> Records:
    """What a new thing costs, what somebody has, and a small fee, each less than the one before."""
    chance = random.Random(_SEED + 4)
    rows = (
        {"new": chance.randint(60, 150), "has": chance.randint(16, 50), "fee": chance.randint(2, 15)}
        for _ in range(500)
    )
    return tuple({name: f"£{value}" for name, value in row.items()} for row in rows)


@cache
def dates() -> Records:
    """The days of a year: the date in several forms, the day after, and the days one and two weeks later."""
    first = datetime.date(_YEAR, 1, 1)
    return tuple(_date(first + datetime.timedelta(days=number)) for number in range(365))


def _date(day: datetime.date) -> dict[str, str]:
    later = {name: day + datetime.timedelta(days=days) for name, days in (("next", 1), ("week", 7), ("fortnight", 14))}
    return {
        "date": _said(day),
        "day": _weekday(day),
        "short": f"{day.day} {_month(day)}",
        "month": _month(day),
        **{name: _said(date) for name, date in later.items()},
        **{f"{name}_day": _weekday(date) for name, date in later.items()},
    }


def _said(day: datetime.date) -> str:
    return f"{_weekday(day)} {day.day} {_month(day)}"


def _weekday(day: datetime.date) -> str:
    return _entries("week")[day.weekday()]


def _month(day: datetime.date) -> str:
    return _entries("year")[day.month - 1]


@cache
def weekdays() -> Records:
    """Weekdays with the day before and the days after."""
    names = _entries("week")
    return tuple(
        {"day": day, "before": names[i - 1], "after": names[(i + 1) % 7], "later": names[(i + 2) % 7]}
        for i, day in enumerate(names)
    )


@cache
def clocks() -> Records:
    """Five times of one day in order, from the morning on."""
    return _times(_SEED + 1, (7, 10), "abcde")


@cache
def evenings() -> Records:
    """Two times of one evening in order."""
    return _times(_SEED + 5, (17, 21), "ab")


def _times(seed: int, first: tuple[int, int], names: str) -> Records:
    chance = random.Random(seed)
    rows = []
    for _ in range(_ROWS):
        times = [chance.randrange(first[0] * 60, first[1] * 60, 15)]
        for _ in names[1:]:
            times.append(times[-1] + chance.randrange(30, 180, 15))
        rows.append({name: _clock(time) for name, time in zip(names, times, strict=True)})
    return tuple(rows)


def _clock(minutes: int) -> str:
    hour, minute = divmod(minutes, 60)
    half = "am" if hour < 12 else "pm"
    return f"{(hour - 1) % 12 + 1}{f'.{minute:02d}' if minute else ''} {half}"


@cache
def sales() -> Records:
    """So many pieces at so many pounds each, and their sum; then change out of a larger amount."""
    return tuple(_sale(count, each * 100) for count in range(2, 7) for each in range(2, 13))


@cache
def small_sales() -> Records:
    """The same, at so many pence each."""
    return tuple(_sale(count, each) for count in range(2, 9) for each in range(20, 100, 5))


def _sale(count: int, each: int) -> dict[str, str]:
    total = count * each
    paid = (total // 1000 + 1) * 1000
    amounts = {"each": each, "total": total, "paid": paid, "change": paid - total}
    return {"n": str(count), "count": _word(count), **{name: pounds(value) for name, value in amounts.items()}}


@cache
def ledgers() -> Records:
    """Three lines of a bill, their sums, the total, a discount, and what is left to pay."""
    chance = random.Random(_SEED + 2)
    return tuple(_ledger(chance) for _ in range(_ROWS))


def _ledger(chance: random.Random) -> dict[str, str]:
    row: dict[str, str] = {}
    total = 0
    for name in "abc":
        count, each = chance.randint(1, 6), chance.randint(2, 40) * 100 + chance.choice((0, 0, 50))
        row |= {f"n{name}": str(count), f"p{name}": pounds(each), f"s{name}": pounds(count * each)}
        total += count * each
    rate = chance.choice((10, 20, 50))
    off = total * rate // 100
    return {**row, "total": pounds(total), "rate": f"{rate}%", "off": pounds(off), "due": pounds(total - off)}


@cache
def readings() -> Records:
    """House numbers, sizes, weights, minutes and the like."""
    chance = random.Random(_SEED + 3)
    return tuple(_reading(chance) for _ in range(_ROWS))


def _reading(chance: random.Random) -> dict[str, str]:
    return {
        "house": str(chance.randint(1, 98)),
        "cm": str(chance.randint(3, 60) * 5),
        "width": str(chance.randint(12, 95)),
        "wide": str(chance.randint(20, 199)),
        "stars": str(chance.randint(3, 10)),
        "kg": str(chance.randint(2, 25)),
        "litres": str(chance.randint(2, 40)),
        "watts": str(chance.randint(4, 40) * 50),
        "minutes": str(chance.randint(1, 11) * 5),
        "degrees": str(chance.choice((30, 40, 60))),
        "oven": str(chance.choice((160, 170, 180, 190, 200))),
        "percent": f"{chance.randint(1, 10) * 5}%",
        "bay": f"{chance.choice('ABCDEFGHK')}{chance.randint(1, 48)}",
        "parcels": str(chance.randint(13, 480)),
        "code": f"{chance.choice(('SAVE', 'HOME', 'SPRING', 'AUTUMN', 'COSY', 'NEW'))}{chance.randint(5, 60)}",
    }


@cache
def speakers() -> Records:
    """Who asks and who answers in a chat."""
    pairs = (("Customer", "Shop"), ("User", "Assistant"), ("Caller", "Agent"), ("Customer", "Pennyfield"))
    return tuple({"a": asker, "b": answerer} for asker, answerer in pairs)


TABLES: dict[str, Callable[[], Records]] = {
    "count": counts,
    "number_pair": number_pairs,
    "age": ages,
    "price": prices,
    "small": small_prices,
    "budget": budgets,
    "date": dates,
    "weekday": weekdays,
    "clock": clocks,
    "evening": evenings,
    "sale": sales,
    "pence": small_sales,
    "ledger": ledgers,
    "reading": readings,
    "speakers": speakers,
}
