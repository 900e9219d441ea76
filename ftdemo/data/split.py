"""Which rows of a file are held out: at random, each label in its share, and no near-duplicate of a training row."""

from __future__ import annotations

import random
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

_NOT_LETTERS = re.compile(r"[\W\d_]+")
_HALF = 2**32 - 1
"""32 bits are enough here: two rows that share them by accident are held out together, which does no harm."""


def fingerprint(text: str) -> int:
    """A 64-bit hash of a text, the same in every process."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def near_duplicate_key(text: str) -> str:
    """A text without numbers, punctuation, spaces and capitals, so that near-duplicates have the same key."""
    return _NOT_LETTERS.sub("", text.casefold())


def choose_heldout(rows: Iterable[tuple[str, str]], *, held: int, seed: int) -> frozenset[int]:
    """The indices of the rows to hold out, from 0.

    Rows that differ only in numbers, punctuation and capitals are held out together or not at all. If more rows than
    `held` are the same in this sense, they follow a pattern (sums, say), and only identical rows are kept together.
    Each label is held out in proportion, as far as these groups allow.

    Args:
        rows: The text of each row and its label, which is empty where there are none.
        held: How many rows to hold out. There may be fewer if the groups of all others are too large.
        seed: Decides which.
    """
    keys, copies, labels = array("I"), array("I"), array("H")
    names: dict[str, int] = {}
    for text, label in rows:
        keys.append(fingerprint(near_duplicate_key(text) or text) & _HALF)
        copies.append(fingerprint(text) & _HALF)
        labels.append(names.setdefault(label, len(names)))
    near_duplicates, duplicates = _Groups(keys), _Groups(copies)
    remaining = _quotas(labels, held)
    chosen: set[int] = set()
    for place in _candidates(len(keys), held, seed):
        group = near_duplicates.of(place, held) or duplicates.of(place, held)
        wanted = Counter(labels[member] for member in group)
        if group and place not in chosen and all(remaining[label] >= count for label, count in wanted.items()):
            chosen.update(group)
            remaining.subtract(wanted)
        if len(chosen) == held:
            break
    return frozenset(chosen)


class _Groups:
    """Rows with the same fingerprint, in eight bytes per row."""

    def __init__(self, fingerprints: array[int]) -> None:
        import numpy

        self._fingerprints = numpy.frombuffer(fingerprints, dtype=numpy.uint32)
        self._sorted = numpy.sort(self._fingerprints)

    def of(self, place: int, most: int) -> list[int]:
        """The indices of all rows with the fingerprint of this one; empty if there are more than `most`."""
        import numpy

        fingerprint = self._fingerprints[place]
        count = numpy.searchsorted(self._sorted, fingerprint, "right") - numpy.searchsorted(
            self._sorted, fingerprint, "left"
        )
        if count > most:
            return []
        return [place] if count == 1 else numpy.flatnonzero(self._fingerprints == fingerprint).tolist()


def _quotas(labels: Sequence[int], held: int) -> Counter[int]:
    """How many rows of each label to hold out: its share, with the largest remainders rounded up."""
    counts = Counter(labels)
    shares = {label: held * count / max(1, len(labels)) for label, count in counts.items()}
    quotas = Counter({label: int(share) for label, share in shares.items()})
    by_remainder = sorted(shares, key=lambda label: (int(shares[label]) - shares[label], label))
    for label in by_remainder[: held - quotas.total()]:
        quotas[label] += 1
    return quotas


def _candidates(total: int, held: int, seed: int) -> Iterator[int]:
    """Indices in random order: a sample of the size wanted, then all, in case some of the sample cannot be held out."""
    import numpy

    yield from random.Random(seed).sample(range(total), held)
    yield from numpy.random.default_rng(seed).permutation(total).tolist()
