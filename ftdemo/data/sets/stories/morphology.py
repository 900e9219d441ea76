"""Forms of English words: plurals, verb forms, the article. Regular words follow rules; odd ones are listed."""

from __future__ import annotations

import re

_VOWELS = "aeiou"
_AN_BY_SOUND = re.compile(r"(hour|honest|honou?r|heir|8|11\b|18\b)")
_A_BY_SOUND = re.compile(r"(one\b|once\b|uni|us[eu]|eu|ewe)")
_DOUBLING = re.compile(r"^[^aeiou]*(qu)?[aeiou][bdglmnprt]$")
_DOUBLING_LONG = frozenset({"label", "shovel", "signal", "unravel", "marvel", "quarrel"})


def article(word: str) -> str:
    """`a` or `an`, by the sound that `word` begins with."""
    first = word.lower()
    if _AN_BY_SOUND.match(first):
        return "an"
    return "an" if first[:1] in _VOWELS and not _A_BY_SOUND.match(first) else "a"


def plural(noun: str) -> str:
    """The regular plural; of a phrase, that of its last word."""
    if noun.endswith("y") and noun[-2] not in _VOWELS:
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "z", "ch", "sh")) else "s")


def _apply_to_head(verb: str, change: str) -> str:
    head, _, rest = verb.partition(" ")
    return {"past": _past, "ing": _ing, "third": plural}[change](head) + (f" {rest}" if rest else "")


def past(verb: str) -> str:
    """The regular past tense; of a phrase, that of its first word."""
    return _apply_to_head(verb, "past")


def ing(verb: str) -> str:
    """The form in -ing."""
    return _apply_to_head(verb, "ing")


def third(verb: str) -> str:
    """The form that goes with he, she and it."""
    return _apply_to_head(verb, "third")


def _doubles(verb: str) -> bool:
    return bool(_DOUBLING.match(verb)) or verb in _DOUBLING_LONG


def _past(verb: str) -> str:
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2] not in _VOWELS:
        return verb[:-1] + "ied"
    return verb + (verb[-1] if _doubles(verb) else "") + "ed"


def _ing(verb: str) -> str:
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "ye", "oe")):
        return verb[:-1] + "ing"
    return verb + (verb[-1] if _doubles(verb) else "") + "ing"
