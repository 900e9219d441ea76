"""Personal data and keys in a text, recognised by their form and reported masked to the owner of the text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple


class PersonalData(NamedTuple):
    """A part of a text that looks like personal data or a key."""

    kind: str
    masked: str
    """Its first and last characters."""


def find_pii(text: str) -> Iterator[PersonalData]:
    """All parts of a text that look like personal data or a key, kind by kind."""
    for kind, (sign, pattern, is_valid) in _KINDS.items():
        if sign in text:
            for match in pattern.finditer(text):
                if is_valid(match[0]):
                    yield PersonalData(kind, _masked(match[0]))


def _masked(text: str) -> str:
    visible = 2 if len(text) > 8 else 1
    return f"{text[:visible]}…{text[-visible:]}"


def _always(_: str) -> bool:
    return True


def _is_card(text: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    digits = [int(sign) for sign in reversed(text) if sign.isdigit()]
    doubled = [digit if place % 2 == 0 else 2 * digit - 9 * (digit > 4) for place, digit in enumerate(digits)]
    return len(set(digits)) > 1 and sum(doubled) % 10 == 0


def _is_account(text: str) -> bool:
    """Whether the check digits of a bank account number are valid (ISO 13616: the remainder by 97 is 1)."""
    bare = re.sub(r"\s", "", text)
    return int("".join(str(int(sign, 36)) for sign in bare[4:] + bare[:4])) % 97 == 1


_KEYS = "|".join(
    (
        r"\b[sr]k[-_](?:[a-z]+[-_])?[A-Za-z0-9_-]{20,}",
        r"\bAKIA[0-9A-Z]{16}\b",
        r"\bgh[pousr]_[A-Za-z0-9]{36,}",
        r"\bhf_[A-Za-z0-9]{30,}",
        r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
        r"\beyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{5,}",
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    )
)
_KINDS: dict[str, tuple[str, re.Pattern[str], Callable[[str], bool]]] = {
    "e-mail address": ("@", re.compile(r"\b[\w.+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+\b"), _always),
    "telephone number": ("+", re.compile(r"(?<![\w+])\+\d[\d ()/.-]{6,18}\d(?!\w)"), _always),
    "card number": ("", re.compile(r"(?<![\w.])\d(?:[ -]?\d){12,18}(?![\w.])"), _is_card),
    "bank account": ("", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), _is_account),
    "key or password": ("", re.compile(_KEYS), _always),
}
"""Each kind with a character that it always contains (a fast test), its pattern, and a check of what matches."""
