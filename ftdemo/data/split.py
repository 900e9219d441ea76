"""Which rows of a file are held out: by chance, each label in its share, and none whose near-twin is trained on."""

from __future__ import annotations

import random
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

_NO_LETTER = re.compile(r"[\W\d_]+")
_HALF = 2**32 - 1
"""32 bits tell rows apart well enough here: two that they mix up are held out together, no more."""


def fingerprint(text: str) -> int:
    """64 bits that tell texts apart."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def letters(text: str) -> str:
    """A text without all that two near-twins may differ in: numbers, signs, spaces and capitals."""
    return _NO_LETTER.sub("", text.casefold())


def choose_heldout(rows: Iterable[tuple[str, str]], *, held: int, seed: int) -> frozenset[int]:
    """The places of the rows to hold out, from 0.

    Rows that are the same but for numbers, signs and capitals are held out together or not at all. Where there are more
    such rows than are wanted, sums say, it is a pattern, and only rows that are the same in full are kept together. Of
    rows with labels each label is held out in proportion, as far as that goes.

    Args:
        rows: The text of each row and its label, which is empty where there are none.
        held: How many rows are wanted. There may be fewer where all others have twins.
        seed: Decides which.
    """
    twins, copies, labels = array("I"), array("I"), array("H")
    names: dict[str, int] = {}
    for text, label in rows:
        twins.append(fingerprint(letters(text) or text) & _HALF)
        copies.append(fingerprint(text) & _HALF)
        labels.append(names.setdefault(label, len(names)))
    alike, same = _Groups(twins), _Groups(copies)
    left = _quotas(labels, held)
    chosen: set[int] = set()
    for place in _candidates(len(twins), held, seed):
        group = alike.of(place, held) or same.of(place, held)
        wanted = Counter(labels[member] for member in group)
        if group and place not in chosen and all(left[label] >= count for label, count in wanted.items()):
            chosen.update(group)
            left.subtract(wanted)
        if len(chosen) == held:
            break
    return frozenset(chosen)


class _Groups:
    """Rows with the same fingerprint, by eight bytes a row."""

    def __init__(self, marks: array[int]) -> None:
        import numpy

        self._marks = numpy.frombuffer(marks, dtype=numpy.uint32)
        self._sorted = numpy.sort(self._marks)

    def of(self, place: int, most: int) -> list[int]:
        """The places of all rows like this one; empty where there are more than `most`."""
        import numpy

        mark = self._marks[place]
        count = numpy.searchsorted(self._sorted, mark, "right") - numpy.searchsorted(self._sorted, mark, "left")
        if count > most:
            return []
        return [place] if count == 1 else numpy.flatnonzero(self._marks == mark).tolist()


def _quotas(labels: Sequence[int], held: int) -> Counter[int]:
    """How many rows of each label are held out: its share, the largest remainders rounded up."""
    counts = Counter(labels)
    shares = {label: held * count / max(1, len(labels)) for label, count in counts.items()}
    quotas = Counter({label: int(share) for label, share in shares.items()})
    by_remainder = sorted(shares, key=lambda label: (int(shares[label]) - shares[label], label))
    for label in by_remainder[: held - quotas.total()]:
        quotas[label] += 1
    return quotas


def _candidates(total: int, held: int, seed: int) -> Iterator[int]:
    """Places in random order: as many as are wanted first, and then all, for where some of those cannot be had."""
    import numpy

    yield from random.Random(seed).sample(range(total), held)
    yield from numpy.random.default_rng(seed).permutation(total).tolist()
