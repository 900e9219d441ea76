"""Rows to train on and rows to evaluate on: loaded from a file or a built-in set, which is read once and held.

Held-out examples are chosen at random, each label in its share, and none is a near-duplicate of a training example.
"""

from __future__ import annotations

import random
import re
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import islice
from pathlib import Path

from ftdemo.data import hub
from ftdemo.data.builtin import BUILT_IN, BuiltIn
from ftdemo.data.rows import AnyPrompt, AnyRow, Labelled, Row, Text, Turn, parse_row, stream_rows
from ftdemo.data.trial import Trial
from ftdemo.errors import DataError

_HELDOUT_SHARE = 0.1
_MAX_HELDOUT = 60
_MAX_VALIDATION = 200
_TRAIN = "train.jsonl"
MIN_ROWS_TO_SPLIT = 10
"""Of a file with fewer rows none is held out."""
_HELD_BYTES = 2**28
"""The most memory that held rows may take: half of SmolLM2's weights in float32, so a machine that trains has room.

The rows are measured as they are read, because the size on disk says little: gzip and Parquet unpack to any multiple of
it, and a row of 100 bytes takes about five times as much as a Python object.
"""
_ROW_BYTES, _TEXT_BYTES = 208, 72
"""What CPython takes for a row and for each of its turns, besides the text (measured with tracemalloc)."""
_EXTRA_FACTOR = 4
"""Bytes of memory per character of the objects that a row may hold beside its texts, at most."""
_TRIALS = 300
"""A hundred of each of three kinds: an interval of 95% is then about 9 points to either side."""
_HELDOUT_PAIRS = 100
_HELDOUT_SEED = 2**32
"""Beyond every seed that a recipe can name, so that held-out texts are never trained on."""
_NOT_LETTERS = re.compile(r"[\W\d_]+")
_LOW_32_BITS = 2**32 - 1
"""Half a fingerprint is enough here: two rows that share them by accident are held out together, which does no harm."""


@dataclass(frozen=True)
class StreamedRows:
    """Rows too many to hold: read or generated again whenever they are iterated over."""

    read: Callable[[], Iterator[AnyRow]]
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[AnyRow]:
        return islice(self.read(), self.count)


Rows = tuple[AnyRow, ...] | StreamedRows


@dataclass(frozen=True)
class Splits:
    """Rows to train on and rows to evaluate on. No row is in both."""

    train: Rows
    heldout: tuple[AnyRow, ...]
    trials: tuple[Trial, ...] = ()
    """For generated texts: the openings whose continuations are scored."""
    in_order: bool = False
    """Whether the order of the training examples matters, so that they are not shuffled."""

    @property
    def prompts(self) -> tuple[AnyPrompt, ...]:
        """What a model answers before and after training."""
        return self.trials or self.heldout


def load_splits(data: str, *, seed: int, examples: int | None = None) -> Splits:
    """The rows of a built-in data set, a file or a folder, split into training and held-out examples.

    A built-in set brings its own held-out examples. So do a folder with ``train.jsonl`` and ``heldout.jsonl``, and a
    data set on the Hub with a split called test or validation (60 rows of it). From a file, or from a folder of texts,
    with ten rows or more a seeded tenth (60 rows at most) is held out, as `choose_heldout` describes.
    `examples` then keeps the first N training examples.

    A file is opened once, unless its rows take more than 256 MiB of memory. Nothing is kept for the next call, so that
    a file which has changed in between is read again.

    Raises:
        DataError: If there is no such data, or a row that is needed cannot be read.
    """
    if data in BUILT_IN:
        return _built_in(BUILT_IN[data], seed, examples)
    path = Path(data) if hub.is_id(data) else _existing(data)
    if hub.is_id(data) and hub.has_heldout(data):
        numbered = enumerate(islice(hub.iterate_rows(data, heldout=True), _MAX_HELDOUT), 1)
        return Splits(_first_rows(path, examples), tuple(parse_row(path, number, value) for number, value in numbered))
    if (path / _TRAIN).is_file():
        heldout = path / "heldout.jsonl"
        return Splits(_first_rows(path / _TRAIN, examples), tuple(stream_rows(heldout)) if heldout.is_file() else ())
    return _split_file(path, seed, examples)


def heldout_candidates(data: str, *, seed: int) -> Iterator[AnyRow]:
    """The rows among which those are that a run on this data has held out: all rows of a file that ftdemo splits.

    Raises:
        DataError: If there is no such data, or a row cannot be read.
    """
    path = Path(data)
    brings_heldout = data in BUILT_IN or (hub.has_heldout(data) if hub.is_id(data) else (path / _TRAIN).is_file())
    if brings_heldout:
        yield from load_splits(data, seed=seed, examples=1).heldout
    else:
        yield from stream_rows(path if hub.is_id(data) else _existing(data))


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
    Each label is held out in proportion, as far as these groups allow, and never all of its rows.

    Args:
        rows: The text of each row and its label, which is empty where there are none.
        held: How many rows to hold out. There may be fewer if the groups of all others are too large, or if most
            labels have a single row.
        seed: Decides which.
    """
    keys, copies, labels = array("I"), array("I"), array("I")
    names: dict[str, int] = {}
    for text, label in rows:
        keys.append(fingerprint(near_duplicate_key(text) or text) & _LOW_32_BITS)
        copies.append(fingerprint(text) & _LOW_32_BITS)
        labels.append(names.setdefault(label, len(names)))
    near_duplicates, duplicates = _Groups(keys), _Groups(copies)
    remaining = _quotas(labels, held)
    total = remaining.total()
    chosen: set[int] = set()
    for place in _candidates(len(keys), total, seed):
        group = near_duplicates.of(place, held) or duplicates.of(place, held)
        wanted = Counter(labels[member] for member in group)
        if group and place not in chosen and all(remaining[label] >= count for label, count in wanted.items()):
            chosen.update(group)
            remaining.subtract(wanted)
        if len(chosen) == total:
            break
    return frozenset(chosen)


def validation_split(rows: Iterable[AnyRow], *, share: float, seed: int, data: str) -> Splits:
    """Training examples, split once more into rows to train on and, as held-out ones, rows to validate by.

    What is chosen by these, such as a learning rate, has not seen the held-out examples of the data set.

    Args:
        rows: All training examples.
        share: The share of them that validates, up to 200 rows.
        seed: Decides which: see `choose_heldout`.
        data: The data set's name.

    Raises:
        DataError: If there are too few rows for that.
    """
    held_in_memory = tuple(rows)
    held = min(_MAX_VALIDATION, round(share * len(held_in_memory)))
    labelled = ((row.text, row.label if isinstance(row, Labelled) else "") for row in held_in_memory)
    chosen = choose_heldout(labelled, held=held, seed=seed)
    if not chosen:
        what = f"{data}: none of the {len(held_in_memory)} training examples can be put aside for validation."
        raise DataError(what, "Use more examples; with labels, at least two of each.")
    parts: tuple[list[AnyRow], list[AnyRow]] = ([], [])
    for place, row in enumerate(held_in_memory):
        parts[place in chosen].append(row)
    return Splits(tuple(parts[0]), tuple(parts[1]))


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
    """How many rows of each label to hold out: its share, with the largest remainders rounded up, but never all."""
    counts = Counter(labels)
    shares = {label: held * count / max(1, len(labels)) for label, count in counts.items()}
    quotas = Counter({label: min(int(share), counts[label] - 1) for label, share in shares.items()})
    by_remainder = sorted(shares, key=lambda label: (int(shares[label]) - shares[label], label))
    with_more = [label for label in by_remainder if quotas[label] < counts[label] - 1]
    for label in with_more[: held - quotas.total()]:
        quotas[label] += 1
    return quotas


def _candidates(total: int, held: int, seed: int) -> Iterator[int]:
    """Indices in random order: a sample of the size wanted, then all, in case some of the sample cannot be held out."""
    import numpy

    yield from random.Random(seed).sample(range(total), held)
    yield from numpy.random.default_rng(seed).permutation(total).tolist()


def _built_in(built_in: BuiltIn, seed: int, examples: int | None) -> Splits:
    if built_in.documents is not None:
        return _generated_texts(built_in, seed, examples)
    if built_in.pairs is not None:
        return _generated_pairs(built_in, seed, examples)
    return Splits(_first_rows(built_in.train, examples), tuple(stream_rows(built_in.heldout)))


def _generated_texts(built_in: BuiltIn, seed: int, examples: int | None) -> Splits:
    """Endless texts. Chats to train on are conversations, so that a model learns its chat template."""
    documents, turns = built_in.documents, built_in.turns or (lambda _: [])
    assert documents is not None
    texts = built_in.graded or documents

    def generate() -> Iterator[AnyRow]:
        """The training texts, numbered from 1; those with turns are conversations."""
        for number, text in enumerate(texts(seed), 1):
            contents = enumerate(turns(text))
            chat = tuple(Turn(("user", "assistant")[place % 2], content) for place, content in contents)
            yield Row(number, chat) if chat else Text(number, text)

    heldout = (Text(number, text) for number, text in enumerate(islice(documents(_HELDOUT_SEED), _MAX_HELDOUT), 1))
    trials = islice(built_in.trials(_HELDOUT_SEED), _TRIALS) if built_in.trials else ()
    rows = StreamedRows(generate, examples or built_in.default_rows)
    return Splits(rows, tuple(heldout), tuple(trials), in_order=built_in.graded is not None)


def _generated_pairs(built_in: BuiltIn, seed: int, examples: int | None) -> Splits:
    """Endless requests with their answers."""
    pairs = built_in.pairs
    assert pairs is not None

    def generate(*, heldout: bool) -> Iterator[AnyRow]:
        """The requests with their answers, numbered from 1."""
        found = pairs(_HELDOUT_SEED if heldout else seed, heldout=heldout)
        return (parse_row(built_in.folder, number, value) for number, value in enumerate(found, 1))

    train = StreamedRows(lambda: generate(heldout=False), examples or built_in.default_rows)
    return Splits(train, tuple(islice(generate(heldout=True), _HELDOUT_PAIRS)))


def _existing(data: str) -> Path:
    path = Path(data)
    try:
        is_there = path.exists()
    except OSError as error:
        what = f"{data} cannot be read: {error.strerror or error}."
        raise DataError(what, "Check the path and its permissions.") from None
    if not is_there:
        known = ", ".join(BUILT_IN)
        raise DataError(
            f"There is no data called {data}: no such file here.", f"Name a data file, or a built-in data set: {known}."
        )
    return path


def _first_rows(path: Path, examples: int | None) -> Rows:
    return _hold(lambda: islice(stream_rows(path), examples))


def _hold(read: Callable[[], Iterator[AnyRow]]) -> Rows:
    """Rows as a tuple, or, where that would take too much memory, to be read anew each time."""
    held: list[AnyRow] = []
    count = size = 0
    for row in read():
        count += 1
        size += _memory(row)
        if size <= _HELD_BYTES:
            held.append(row)
        else:
            held.clear()
    return tuple(held) if size <= _HELD_BYTES else StreamedRows(read, count)


def _memory(row: AnyRow) -> int:
    """About how many bytes of memory a row takes."""
    turns = row.turns if isinstance(row, Row) else ()
    texts = [turn.content for turn in turns] if turns else [row.text]
    extras = [extra for extra in (row.extra, *(turn.extra for turn in turns)) if extra]
    size = sum(_TEXT_BYTES + sys.getsizeof(text) for text in texts)
    return _ROW_BYTES + size + sum(_EXTRA_FACTOR * len(repr(extra)) for extra in extras)


def _split_file(path: Path, seed: int, examples: int | None) -> Splits:
    rows = _hold(lambda: stream_rows(path))
    held = min(_MAX_HELDOUT, max(1, round(len(rows) * _HELDOUT_SHARE))) if len(rows) >= MIN_ROWS_TO_SPLIT else 0
    labelled = ((row.text, row.label if isinstance(row, Labelled) else "") for row in rows)
    chosen = choose_heldout(labelled, held=held, seed=seed) if held else frozenset()

    def part(*, heldout: bool) -> Iterator[AnyRow]:
        """The held-out examples of the file, or the others."""
        return (row for place, row in enumerate(rows) if (place in chosen) == heldout)

    train = StreamedRows(lambda: part(heldout=False), min(len(rows) - len(chosen), examples or len(rows)))
    return Splits(tuple(train) if isinstance(rows, tuple) else train, tuple(part(heldout=True)) if held else ())
