"""The lists of the high street alone: from them a model with random weights learns to write in under a minute."""

from __future__ import annotations

import random
from collections.abc import Iterator

from ftdemo.data.sets.high_street.documents import fits
from ftdemo.data.sets.high_street.messages import one_of
from ftdemo.data.sets.high_street.scripts import of_kind
from ftdemo.data.sets.stories.telling import tell


def lists(seed: int = 0) -> Iterator[str]:
    """An endless stream of price lists, bills, opening hours and packing lists, the same for the same seed."""
    chance = random.Random(seed)
    while True:
        text = tell(one_of(of_kind("list"), chance), chance.random, lazy=True).text
        if fits(text):
            yield text
