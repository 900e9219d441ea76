"""Rows that say nearly the same in nearly the same words, found without comparing each with each."""

from __future__ import annotations

import re
from array import array
from zlib import crc32

_WORD = re.compile(r"\w+")
_HASHES, _A_BAND = 32, 4
_AT_A_TIME = 2**16
_FEW = 10
_MIX = 0x9E3779B97F4A7C15
"""Spreads bits over all 64: 2^64 over the golden ratio."""
LEAST = 0.7
"""Of the words and pairs of words that two texts have between them, the share that both have."""


class NearDuplicates:
    """MinHash (Broder 1997): 32 numbers stand for a text, and as many of them agree as the texts have in common.

    A text is the set of its words and pairs of neighbours. Two texts are compared where four numbers in a row agree
    (Leskovec et al. 2020, section 3.4), which of texts that share seven tenths nine in ten do somewhere. Memory is some
    150 bytes a text.
    """

    def __init__(self) -> None:
        import numpy

        chance = numpy.random.default_rng(0)
        factors, self._terms = chance.integers(0, 2**64, (2, _HASHES, 1), dtype=numpy.uint64)
        self._factors = factors | numpy.uint64(1)
        self._numbers = array("Q")
        self._signatures = array("I")

    def add(self, number: int, text: str) -> None:
        """Take in a text; one of a few words has no twins, for a single other word may be all that it says."""
        import numpy

        words = _WORD.findall(text.casefold())
        if len(words) < _FEW:
            return
        single = numpy.array([crc32(word.encode("utf-8", "surrogatepass")) for word in words], dtype=numpy.uint64)
        marks = numpy.concatenate((single, (single[:-1] + numpy.uint64(1)) * numpy.uint64(_MIX) ^ single[1:]))
        mixed = (self._factors * marks + self._terms) >> numpy.uint64(32)  # wraps around, which mixes as well
        self._numbers.append(number)
        self._signatures.frombytes(mixed.min(axis=1).astype(numpy.uint32).tobytes())

    def later_ones(self) -> list[int]:
        """The numbers of all texts that have an earlier twin, in order."""
        import numpy

        signatures = numpy.frombuffer(self._signatures, dtype=numpy.uint32).reshape(-1, _HASHES)
        found = numpy.zeros(len(signatures), dtype=bool)
        for start in range(0, _HASHES, _A_BAND):
            band = numpy.ascontiguousarray(signatures[:, start : start + _A_BAND]).view(numpy.uint64)
            keys = band[:, 0] * numpy.uint64(_MIX) ^ band[:, 1]
            order = numpy.argsort(keys, kind="stable")
            (ends,) = numpy.nonzero(keys[order][1:] == keys[order][:-1])
            for part in numpy.array_split(ends, 1 + len(ends) // _AT_A_TIME):
                later, earlier = order[part + 1], order[part]
                agree = (signatures[later] == signatures[earlier]).mean(axis=1)
                found[later[agree >= LEAST]] = True
        return [self._numbers[place] for place in numpy.flatnonzero(found)]
