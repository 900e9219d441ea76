"""Messages as people in a hurry type them: small letters, missing signs, common misspellings."""

from __future__ import annotations

import random
import re

_TIDY, _SMALL, _BARE, _TYPED, _SHOUTED = 0.45, 0.63, 0.8, 0.96, 1.0
"""Of all messages, how many are at most so untidy."""
_SIGN_AT_END = re.compile(r"[.,!?;:\"]+(?= |$)")
_WORD = re.compile(r"[a-z']+")
_SLIPS = {
    "please": ("pls", "plz", "plese"),
    "you": ("u",),
    "your": ("ur", "youre"),
    "are": ("r",),
    "and": ("n",),
    "thanks": ("thx", "thanx"),
    "because": ("cos", "becuase"),
    "tomorrow": ("tmrw", "tomorow"),
    "before": ("befor", "bfore"),
    "received": ("recieved",),
    "broken": ("brocken",),
    "which": ("wich",),
    "with": ("w", "wiht"),
    "arrived": ("arived",),
    "address": ("adress",),
    "delivery": ("delivry",),
    "wrong": ("rong",),
    "refund": ("refnd", "refund"),
    "number": ("numbr", "nr"),
    "the": ("teh", "the", "the"),
    "order": ("ordr", "order"),
    "again": ("agen",),
    "would": ("wud", "wld"),
    "have": ("hav", "have"),
    "going": ("goin",),
    "soon": ("asap", "soon"),
    "for": ("fr", "for"),
}
_SLIPPED = 0.6
"""Of the words that have a slip, how many are typed with one."""


def untidy(text: str, chance: random.Random) -> str:
    """The same message, tidy or not. Figures stay as they are."""
    how = chance.random()
    if how < _TIDY:
        return text
    if how < _SMALL:
        return text.lower()
    if how < _BARE:
        return _SIGN_AT_END.sub("", text.lower()).replace("'", "")
    if how < _TYPED:
        return _typed(text.lower(), chance).replace("'", "")
    return text.upper()


def _typed(text: str, chance: random.Random) -> str:
    def slip(found: re.Match[str]) -> str:
        """A word, sometimes as a hurried person types it."""
        word = found[0]
        slips = _SLIPS.get(word)
        return slips[int(chance.random() * len(slips))] if slips and chance.random() < _SLIPPED else word

    return _WORD.sub(slip, text)
