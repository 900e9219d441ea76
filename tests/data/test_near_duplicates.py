from __future__ import annotations

import random
from itertools import pairwise

import pytest

from ftdemo.data.near_duplicates import MIN_OVERLAP, NearDuplicates

_WORDS = [
    f"{first}{second}" for first in ("ba", "ko", "li", "mu", "ne", "ta") for second in ("ral", "ven", "sto", "pig")
]


def _pieces(text: str) -> set[str]:
    words = text.split()
    return {*words, *(" ".join(pair) for pair in pairwise(words))}


def _shared(one: str, other: str) -> float:
    a, b = _pieces(one), _pieces(other)
    return len(a & b) / len(a | b)


def _repeated(texts: list[str]) -> list[int]:
    found = NearDuplicates()
    for number, text in enumerate(texts):
        found.add(number, text)
    return found.repeated()


def test_texts_that_differ_in_a_word_are_near_duplicates_and_others_are_not() -> None:
    texts = [
        "How can I return my broken lamp to the shop? Bring it in.",
        "The shop was closed for a week, because of the ice.",
        "how do I return my broken lamp to the shop: bring it in",
        "Which boat goes to Merrin on Friday?",
        "",
        "Is the new lamp in the shed? No.",
        "Is the old lamp in the shed? No.",
    ]
    assert _repeated(texts) == [2]


@pytest.mark.parametrize(("changed", "share"), [(1, 0.85), (12, 0.0)])
def test_it_finds_what_comparing_each_with_each_would(changed: int, share: float) -> None:
    """Of 200 copies with a word in 30 changed, which share about 0.88 of their pieces, at least 85 in 100 are found.

    With 12 words changed they share about 0.3: 32 numbers of which 23 would have to agree make that a rare accident,
    1 in 100,000 (binomial), and none is found.
    """
    chance = random.Random(3)
    texts: list[str] = []
    for _ in range(200):
        words = [chance.choice(_WORDS) + str(chance.randrange(40)) for _ in range(30)]
        copy = list(words)
        for place in chance.sample(range(30), changed):
            copy[place] = "other" + str(chance.randrange(10_000))
        texts += [" ".join(words), " ".join(copy)]
    shared = [_shared(one, other) for one, other in zip(texts[::2], texts[1::2], strict=True)]
    assert all((value > MIN_OVERLAP) == (changed == 1) for value in shared)
    found = _repeated(texts)
    assert all(number % 2 for number in found)
    assert len(found) >= share * 200
    assert len(found) == 0 or changed == 1


def test_a_text_has_the_same_signature_in_any_process() -> None:
    texts = NearDuplicates()
    texts.add(1, "one two three four five six seven eight nine ten")
    assert bytes(texts._signatures)[:4].hex() == "e2a0c00b"
