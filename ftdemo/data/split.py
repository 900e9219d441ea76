"""Which rows of a file are held out: by chance, each label in its share, and none whose near-twin is trained on."""

from __future__ import annotations

import random
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

_NO_LETTER = re.compile(r"[\W\d_]+")


def fingerprint(text: str) -> int:
    """64 bits that tell texts apart."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def letters(text: str) -> str:
    """A text without all that two near-twins may differ in: numbers, signs, spaces and capitals."""
    return _NO_LETTER.sub("", text.casefold())


def choose(rows: Iterable[tuple[str, str]], *, held: int, seed: int) -> frozenset[int]:
    """The places of the rows to hold out, from 0.

    Rows that are the same but for numbers, signs and capitals are held out together or not at all. Where there are more
    such rows than are wanted, sums say, it is a pattern, and only rows that are the same in full are kept together. Of
    rows with labels each label is held out in proportion, as far as that goes.

    Args:
        rows: The text of each row and its label, which is empty where there are none.
        held: How many rows are wanted. There may be fewer where all others have twins.
        seed: Decides which.
    """
    twins, copies, labels = array("Q"), array("Q"), array("I")
    names: dict[str, int] = {}
    for text, label in rows:
        twins.append(fingerprint(letters(text) or text))
        copies.append(fingerprint(text))
        labels.append(names.setdefault(label, len(names)))
    of_twins, of_copies = _groups(twins), _groups(copies)
    left = _quotas(labels, held)
    chosen: set[int] = set()
    for place in _candidates(len(twins), held, random.Random(seed)):
        group = of_twins.get(twins[place], [place])
        if len(group) > held:
            group = of_copies.get(copies[place], [place])
        wanted = Counter(labels[member] for member in group)
        if place not in chosen and all(left[label] >= count for label, count in wanted.items()):
            chosen.update(group)
            left.subtract(wanted)
        if len(chosen) == held:
            break
    return frozenset(chosen)


def _groups(twins: Sequence[int]) -> dict[int, list[int]]:
    """The places of rows that have a twin, by their fingerprint."""
    groups: dict[int, list[int]] = {twin: [] for twin, count in Counter(twins).items() if count > 1}
    for place, twin in enumerate(twins):
        if twin in groups:
            groups[twin].append(place)
    return groups


def _quotas(labels: Sequence[int], held: int) -> Counter[int]:
    """How many rows of each label are held out: its share, the largest remainders rounded up."""
    counts = Counter(labels)
    shares = {label: held * count / max(1, len(labels)) for label, count in counts.items()}
    quotas = Counter({label: int(share) for label, share in shares.items()})
    by_remainder = sorted(shares, key=lambda label: (int(shares[label]) - shares[label], label))
    for label in by_remainder[: held - quotas.total()]:
        quotas[label] += 1
    return quotas


def _candidates(total: int, held: int, chance: random.Random) -> Iterator[int]:
    """All places in random order."""
    first = chance.sample(range(total), held)
    yield from first
    rest = sorted(set(range(total)) - set(first))
    chance.shuffle(rest)
    yield from rest
