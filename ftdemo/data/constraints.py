"""Constraints: what an answer has to fulfil, written next to its prompt and checked from its text alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Constraints = Mapping[str, Any]

_WORD = re.compile(r"[\w'-]+")
_FIGURE = re.compile(
    r"\d+(?:[.,]\d+)*"
    r"|\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?\b"
    r"|\b(?:January|February|March|April|May(?! (?:I|we|you)\b)|June|July|August|September|October|November|December)\b"
)
"""Numbers, weekdays and months. "May I" is no month."""


def _contains(text: str, wanted: list[str]) -> bool:
    return all(_has(text, word) for word in wanted)


def _has(text: str, word: str) -> bool:
    """Whether the text contains the whole word or phrase, in any case: "start" does not contain "tar"."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def _has_only_figures(text: str, known: list[str]) -> bool:
    """Whether every number, weekday and month of the text is one of these: an answer may not invent any."""
    return set(figures_of(text)) <= set(known)


def figures_of(text: str) -> list[str]:
    """The numbers, weekdays and months of a text, each once."""
    return list(dict.fromkeys(_FIGURE.findall(text)))


_CHECKS: dict[str, tuple[type, Callable[[str, Any], bool]]] = {
    "contains": (list, _contains),
    "excludes": (list, lambda text, unwanted: not any(_has(text, word) for word in unwanted)),
    "starts_with": (str, lambda text, start: text.lstrip().startswith(start)),
    "ends_with": (str, lambda text, end: text.rstrip().endswith(end)),
    "min_words": (int, lambda text, count: len(_WORD.findall(text)) >= count),
    "max_words": (int, lambda text, count: len(_WORD.findall(text)) <= count),
    "figures": (list, _has_only_figures),
    "lines": (int, lambda text, count: len(text.strip().splitlines()) == count),
}
_EXPECTED = {list: "a list of words", str: "text", int: "a whole number"}


def validate_constraints(value: Any) -> Constraints:
    """The constraints of a row, if they are well formed.

    Raises:
        ValueError: If they are not; the message says why.
    """
    if not isinstance(value, dict):
        raise ValueError('constraints should be an object such as {"contains": ["lamp"], "max_words": 40}')
    for name, wanted in value.items():
        if name not in _CHECKS:
            raise ValueError(f"the constraint `{name}` is unknown: the constraints are {', '.join(_CHECKS)}")
        kind = _CHECKS[name][0]
        words = wanted if isinstance(wanted, list) else []
        if not isinstance(wanted, kind) or isinstance(wanted, bool) or not all(isinstance(w, str) for w in words):
            raise ValueError(f"the constraint `{name}` should be {_EXPECTED[kind]}")
    return value


def violations(text: str, wanted: Constraints) -> list[str]:
    """What an answer does not fulfil, a few words each; nothing if it fulfils everything."""
    return [_VIOLATIONS[name](text, value) for name, value in wanted.items() if not _CHECKS[name][1](text, value)]


def _listed(words: list[str]) -> str:
    return ", ".join(word.strip().rstrip(":") for word in words)


_VIOLATIONS: dict[str, Callable[[str, Any], str]] = {
    "contains": lambda text, words: f"missing: {_listed([word for word in words if not _has(text, word)])}",
    "excludes": lambda text, words: f"banned: {_listed([word for word in words if _has(text, word)])}",
    "starts_with": lambda _text, start: f'does not start with "{start.strip()}"',
    "ends_with": lambda _text, end: f'does not end with "{end.strip()}"',
    "min_words": lambda text, count: f"{len(_WORD.findall(text))} words, fewer than {count}",
    "max_words": lambda text, count: f"{len(_WORD.findall(text))} words, more than {count}",
    "figures": lambda text, known: f"invented: {_listed([each for each in figures_of(text) if each not in known])}",
    "lines": lambda text, count: f"lines: {len(text.strip().splitlines())}, not {count}",
}


def satisfied(text: str, wanted: Constraints) -> float:
    """The share of the constraints that the text fulfils, from 0 to 1; 1 if there are none."""
    fulfilled = [_CHECKS[name][1](text, value) for name, value in wanted.items()]
    return sum(fulfilled) / len(fulfilled) if fulfilled else 1.0
