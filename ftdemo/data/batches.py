"""From examples to batches: examples of similar length together, or several packed into one row of a tensor."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from ftdemo.data.tokenize import Example

if TYPE_CHECKING:
    import torch

_BUCKET_BATCHES = 8
"""Examples are sorted by length only within stretches of about this many batches, so that each epoch has other ones."""
_PACKED_BATCHES = 32
"""The same for packed rows: more texts to choose from leave less padding, 7% of a row instead of 10%."""

Packed = list[list[int]]
"""A batch as the indices of its examples, row by row: one in each row or, in packed rows, several."""


@dataclass(frozen=True)
class Batch:
    """Examples as tensors, padded on the right."""

    input_ids: torch.Tensor
    """int64, rows x length."""
    attention_mask: torch.Tensor
    """int64, rows x length: 1 for text, 0 for padding. Packed: bool, rows x 1 x length x length, true where
    a token (third axis) attends to another (fourth axis).

    ftdemo's own attention and transformers' ``sdpa`` take such a mask, its ``eager`` does not.
    """
    loss_positions: torch.Tensor
    """bool, rows x length: the positions from which the next token is predicted with a loss."""
    targets: torch.Tensor
    """int64: the tokens to predict at the loss positions, in their order; for labelled texts, the labels."""
    tokens: int
    """Tokens that are not padding."""
    position_ids: torch.Tensor | None = None
    """int64, rows x length, for packed rows only: each text counts from 0."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Batch(**{name: value.to(device) if hasattr(value, "to") else value for name, value in values.items()})

    def without_targets(self) -> Batch:
        """The same batch with nothing to train."""
        return replace(self, loss_positions=self.loss_positions & False, targets=self.targets[:0], tokens=0)


class BatchPlan(Sequence[Packed]):
    """Which examples form each batch of a whole run, in about eight bytes per example."""

    def __init__(self, batches: Iterable[Packed]) -> None:
        self._places, self._rows, self._batches = array("I"), array("I", [0]), array("I", [0])
        for batch in batches:
            for row in batch:
                self._places.extend(row)
                self._rows.append(len(self._places))
            self._batches.append(len(self._rows) - 1)

    def __len__(self) -> int:
        return len(self._batches) - 1

    def __getitem__(self, index: int) -> Packed:  # type: ignore[override]  # no slices: nobody takes one
        place = range(len(self))[index]
        rows = range(self._batches[place], self._batches[place + 1])
        return [list(self._places[self._rows[row] : self._rows[row + 1]]) for row in rows]


def plan_batches(
    lengths: Sequence[int],
    *,
    batch_tokens: int,
    epochs: float,
    seed: int,
    packed_length: int | None = None,
    in_order: bool = False,
) -> BatchPlan:
    """Plan which examples form each batch.

    Each epoch is shuffled, except with `in_order`, for examples whose order matters. Then examples of similar length
    are put together, so that there is little padding; a batch has at most `batch_tokens` tokens, padding included, and
    at least one example. With `packed_length`, texts are put into rows of that length instead, the longest first, and
    each batch has the same number of rows.

    Args:
        lengths: Tokens of each example.
        batch_tokens: Tokens of a batch, padding included.
        epochs: Passes over the examples; a fraction means a part of the last pass.
        seed: Decides the order.
        packed_length: Length of a packed row, in tokens.
        in_order: Whether the examples keep their order, but for those of neighbouring batches.
    """
    return BatchPlan(_planned(lengths, batch_tokens, epochs, random.Random(seed), packed_length, in_order))


def _planned(
    lengths: Sequence[int],
    batch_tokens: int,
    epochs: float,
    rng: random.Random,
    packed_length: int | None,
    in_order: bool,
) -> Iterator[Packed]:
    for epoch in range(math.ceil(epochs)):
        examples = range(len(lengths)) if in_order else rng.sample(range(len(lengths)), len(lengths))
        if packed_length:
            batches = BatchPlan(_packed(examples, lengths, batch_tokens, packed_length, rng))
        else:
            batches = BatchPlan(_bucketed(examples, lengths, batch_tokens))
        order = list(range(len(batches)))
        if not in_order:
            rng.shuffle(order)  # within a stretch they come sorted by length, which would be a curriculum
        share = min(1.0, epochs - epoch)
        yield from (batches[place] for place in order[: math.ceil(share * len(batches))])


def _stretches(examples: Sequence[int], lengths: Sequence[int], batch_tokens: int, batches: int) -> Iterator[list[int]]:
    """The examples, cut into stretches of several batches, each sorted by length."""
    ordered = array("I", examples)
    stretch = max(1, round(batches * batch_tokens * len(lengths) / sum(lengths)))
    for start in range(0, len(ordered), stretch):
        yield sorted(ordered[start : start + stretch], key=lengths.__getitem__)


def _bucketed(examples: Sequence[int], lengths: Sequence[int], batch_tokens: int) -> Iterator[Packed]:
    for places in _stretches(examples, lengths, batch_tokens, _BUCKET_BATCHES):
        batch: Packed = []
        for place in places:
            # Sorted by length, the newest example is the longest, so all others would be padded to it.
            if batch and (len(batch) + 1) * lengths[place] > batch_tokens:
                yield batch
                batch = []
            batch.append([place])
        yield batch


def _packed(
    examples: Sequence[int], lengths: Sequence[int], batch_tokens: int, packed_length: int, rng: random.Random
) -> Iterator[Packed]:
    rows_per_batch = max(1, batch_tokens // packed_length)
    batch: Packed = []
    for places in _stretches(examples, lengths, batch_tokens, _PACKED_BATCHES):
        rows = _fill_rows(places, lengths, packed_length)
        rng.shuffle(rows)  # or the longest texts would share a batch
        for row in rows:
            batch.append(row)
            if len(batch) == rows_per_batch:
                yield batch
                batch = []
    if batch:
        yield batch


def _fill_rows(places: Sequence[int], lengths: Sequence[int], packed_length: int) -> Packed:
    """First fit, the longest first (Johnson 1974): each text goes into the first row that has room for it."""
    rows: Packed = []
    room: list[int] = []
    for place in reversed(places):
        fits = next((row for row, left in enumerate(room) if left >= lengths[place]), None)
        if fits is None:
            rows.append([place])
            room.append(packed_length - lengths[place])
        else:
            rows[fits].append(place)
            room[fits] -= lengths[place]
    return rows


def collate(examples: Sequence[Example], pad_token_id: int) -> Batch:
    """Pad examples, one per row, to the longest of them."""
    return _as_tensors([[example] for example in examples], pad_token_id, max(map(len, examples)))


def collate_packed(rows: Sequence[Sequence[Example]], pad_token_id: int, *, length: int) -> Batch:
    """Put several texts into each row; each attends only to itself, and its positions count from 0.

    Args:
        rows: The texts of each row.
        pad_token_id: Fills the rest of a row.
        length: Length of a row, in tokens.
    """
    import torch

    batch = _as_tensors(rows, pad_token_id, length)
    segment = torch.zeros_like(batch.input_ids)
    position = torch.zeros_like(batch.input_ids)
    for index, row in enumerate(rows):
        start = 0
        for number, example in enumerate(row, 1):
            segment[index, start : start + len(example)] = number
            position[index, start : start + len(example)] = torch.arange(len(example))
            start += len(example)
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    # Padding attends to padding: a token that attends to nothing would have no softmax.
    visible = (segment[:, :, None] == segment[:, None, :]) & earlier
    return Batch(batch.input_ids, visible[:, None], batch.loss_positions, batch.targets, batch.tokens, position)


def _as_tensors(rows: Sequence[Sequence[Example]], pad_token_id: int, length: int) -> Batch:
    import torch

    input_ids = torch.full((len(rows), length), pad_token_id, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    loss_positions = torch.zeros(len(rows), length, dtype=torch.bool)
    for index, row in enumerate(rows):
        start = 0
        for example in row:
            end = start + len(example)
            input_ids[index, start:end] = torch.tensor(example.input_ids)
            attention_mask[index, start:end] = 1
            # Position i predicts token i + 1, so the mask moves one to the left and a text's last position has no loss.
            loss_positions[index, start : end - 1] = torch.tensor(example.completion_mask[1:], dtype=torch.bool)
            start = end
    examples = [example for row in rows for example in row]
    if examples[0].label is None:
        targets = input_ids.roll(-1, dims=1)[loss_positions]
    else:
        targets = torch.tensor([example.label for example in examples])
    return Batch(input_ids, attention_mask, loss_positions, targets, tokens=sum(map(len, examples)))
