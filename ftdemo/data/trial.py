"""Trials: what a model that only goes on with texts is given, so that what it learned can be scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Trial:
    """An unseen text up to some point, how it goes on in the data, and what a continuation is worth."""

    number: int
    opening: str
    reference: str
    score: Callable[[str], dict[str, float]]
    """Scores of a continuation, each from 0 to 1."""
    max_new_tokens: int
