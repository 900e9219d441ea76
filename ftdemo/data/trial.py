"""Trials: openings for a model that continues texts, so that its continuations can be scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Trial:
    """The opening of an unseen text, its continuation in the data, and how another continuation is scored."""

    number: int
    opening: str
    reference: str
    score: Callable[[str], dict[str, float]] = field(repr=False)
    """Scores of a continuation, each from 0 to 1. Its own `repr` differs between processes, so a trial omits it."""
    max_new_tokens: int
