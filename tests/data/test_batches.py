from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import torch
from torch.nn import functional

from ftdemo.data import BUILT_IN, Text, stream_rows
from ftdemo.data.batches import Batch, Packed, collate, collate_packed, plan_batches
from ftdemo.data.sets import high_street
from ftdemo.data.tokenize import Example, encode_all, encode_text
from ftdemo.models import kernels, new

# Plans


@pytest.fixture(scope="module")
def lengths(tokenizer: Any) -> Sequence[int]:
    """Tokens of each training row of replies: from 91 to 176."""
    return encode_all(stream_rows(BUILT_IN["replies"].train), tokenizer).lengths


def rows_of(plan: Iterable[Packed]) -> list[list[int]]:
    return [row for batch in plan for row in batch]


def visits(plan: Iterable[Packed]) -> list[int]:
    return [place for row in rows_of(plan) for place in row]


def with_padding(batch: Packed, lengths: Sequence[int]) -> int:
    """Tokens of a bucketed batch, padding included."""
    return len(batch) * max(lengths[place] for row in batch for place in row)


@pytest.mark.parametrize("packed_length", [None, 512], ids=["bucketed", "packed"])
def test_every_epoch_visits_every_example_once(packed_length: int | None, lengths: Sequence[int]) -> None:
    plan = plan_batches(lengths, batch_tokens=1024, epochs=2, seed=0, packed_length=packed_length)
    first, second = visits(plan)[: len(lengths)], visits(plan)[len(lengths) :]
    assert sorted(first) == sorted(second) == list(range(len(lengths)))
    assert first != second


@pytest.mark.parametrize("packed_length", [None, 512], ids=["bucketed", "packed"])
def test_a_plan_in_order_begins_with_the_first_examples_and_ends_with_the_last(
    packed_length: int | None, lengths: Sequence[int]
) -> None:
    many = list(lengths) * 5
    plan = plan_batches(many, batch_tokens=1024, epochs=1, seed=0, packed_length=packed_length, in_order=True)
    places = visits(plan)
    assert sorted(places) == list(range(len(many)))
    moved = [abs(place - number) for number, place in enumerate(places)]
    assert max(moved) < len(many) / 2  # only within a stretch of batches, however many examples there are


@pytest.mark.parametrize("packed_length", [None, 512], ids=["bucketed", "packed"])
def test_the_plan_follows_the_seed(packed_length: int | None, lengths: Sequence[int]) -> None:
    def plan(seed: int) -> list[Packed]:
        return list(plan_batches(lengths, batch_tokens=1024, epochs=1, seed=seed, packed_length=packed_length))

    assert plan(0) == plan(0)
    assert plan(0) != plan(1)


@pytest.mark.parametrize("packed_length", [None, 512], ids=["bucketed", "packed"])
def test_half_an_epoch_is_half_the_batches(packed_length: int | None, lengths: Sequence[int]) -> None:
    def plan(epochs: float) -> list[Packed]:
        return list(plan_batches(lengths, batch_tokens=1024, epochs=epochs, seed=0, packed_length=packed_length))

    assert plan(0.5) == plan(1)[: math.ceil(len(plan(1)) / 2)]
    assert plan(1.5) == plan(2)[: len(plan(1.5))]
    assert len(plan(1.5)) == len(plan(1)) + math.ceil((len(plan(2)) - len(plan(1))) / 2)


def test_a_plan_can_be_read_anywhere() -> None:
    plan = plan_batches([3] * 10, batch_tokens=6, epochs=1, seed=0)
    assert [plan[place] for place in range(-len(plan), 0)] == list(plan)
    with pytest.raises(IndexError):
        plan[len(plan)]


def test_batches_keep_the_token_budget_with_their_padding(lengths: Sequence[int]) -> None:
    for batch in plan_batches(lengths, batch_tokens=512, epochs=1, seed=0):
        assert with_padding(batch, lengths) <= 512


def test_a_bucketed_batch_has_one_example_a_row(lengths: Sequence[int]) -> None:
    assert {len(row) for row in rows_of(plan_batches(lengths, batch_tokens=512, epochs=1, seed=0))} == {1}


def test_bucketing_leaves_little_padding(lengths: Sequence[int]) -> None:
    plan = plan_batches(lengths, batch_tokens=512, epochs=1, seed=0)
    # In batches of four at random, the longest row of four decides: about a fifth would be padding. Measured: 1.02.
    assert sum(with_padding(batch, lengths) for batch in plan) <= 1.1 * sum(lengths)


@pytest.mark.parametrize("packed_length", [None, 40], ids=["bucketed", "packed"])
def test_a_row_longer_than_the_budget_gets_a_batch_of_its_own(packed_length: int | None) -> None:
    plan = plan_batches([40, 4, 4], batch_tokens=16, epochs=1, seed=0, packed_length=packed_length)
    assert [[0]] in list(plan)


@pytest.mark.parametrize(("batch_tokens", "packed_length"), [(512, 512), (2048, 512), (2048, 256), (1000, 256)])
def test_packed_rows_fit_and_batches_have_one_number_of_rows(
    batch_tokens: int, packed_length: int, lengths: Sequence[int]
) -> None:
    plan = plan_batches(lengths, batch_tokens=batch_tokens, epochs=1, seed=0, packed_length=packed_length)
    assert max(sum(lengths[place] for place in row) for row in rows_of(plan)) <= packed_length
    sizes = sorted((len(batch) for batch in plan), reverse=True)
    assert set(sizes[:-1]) == {batch_tokens // packed_length}
    assert 1 <= sizes[-1] <= batch_tokens // packed_length  # what is left over when the rows are dealt out


@pytest.mark.parametrize("rows_a_batch", [1, 4, 16])
def test_packing_short_texts_leaves_no_more_than_a_quarter_of_a_row_empty(rows_a_batch: int) -> None:
    length, rng = 256, random.Random(1)
    lengths = [rng.randint(8, length // 4) for _ in range(2000)]
    batch_tokens = rows_a_batch * length
    plan = plan_batches(lengths, batch_tokens=batch_tokens, epochs=1, seed=0, packed_length=length)
    # A text opens a row only where none has room for it. So when the last row of a stretch is opened, by a text of a
    # quarter row at most, all others are more than three quarters full. Stretches are of eight batches of text.
    stretches = math.ceil(sum(lengths) / (8 * batch_tokens)) + 1
    loose = [row for row in rows_of(plan) if sum(lengths[place] for place in row) <= 0.75 * length]
    assert len(loose) <= stretches


def test_packing_leaves_little_padding(lengths: Sequence[int]) -> None:
    plan = plan_batches(lengths, batch_tokens=2048, epochs=1, seed=0, packed_length=512)
    # Letters of 91 to 176 tokens, one a row of 512, would leave three quarters empty. Measured: 8 %, because rows of
    # three or four such letters seldom come out even.
    assert 512 * len(rows_of(plan)) <= 1.12 * sum(lengths)


# Tensors

SHORT = Example(1, (11, 12, 13), (False, False, True))
LONG = Example(2, (21, 22, 23, 24, 25), (False, True, False, True, True))
PAD = 9


def test_each_predicted_position_looks_at_the_token_before_its_target() -> None:
    batch = collate([SHORT, LONG], PAD)
    assert batch.input_ids.tolist() == [[11, 12, 13, PAD, PAD], [21, 22, 23, 24, 25]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch.loss_positions.int().tolist() == [[0, 1, 0, 0, 0], [1, 0, 1, 1, 0]]
    assert batch.targets.tolist() == [13, 22, 24, 25]
    assert batch.tokens == 8


def test_labelled_texts_have_their_labels_as_targets() -> None:
    batch = collate([Example(1, (5, 6), (False, False), label=2), Example(2, (7,), (False,), label=0)], PAD)
    assert batch.targets.tolist() == [2, 0]
    assert not batch.loss_positions.any()


def test_a_packed_row_counts_each_text_from_nought_and_shows_it_only_itself() -> None:
    batch = collate_packed([[SHORT, LONG]], PAD, length=10)
    assert batch.input_ids.tolist() == [[11, 12, 13, 21, 22, 23, 24, 25, PAD, PAD]]
    assert batch.loss_positions.int().tolist() == [[0, 1, 0, 1, 0, 1, 1, 0, 0, 0]]
    assert batch.targets.tolist() == [13, 22, 24, 25]
    assert batch.tokens == 8
    assert batch.position_ids is not None
    assert batch.position_ids[0, :8].tolist() == [0, 1, 2, 0, 1, 2, 3, 4]
    sees = torch.block_diag(torch.ones(3, 3).tril(), torch.ones(5, 5).tril())  # type: ignore[no-untyped-call]
    assert torch.equal(batch.attention_mask[0, 0, :8, :8], sees.bool())
    assert not batch.attention_mask[0, 0, :8, 8:].any()


def test_no_position_of_a_packed_row_sees_nothing() -> None:
    batch = collate_packed([[SHORT]], PAD, length=6)
    assert batch.input_ids.shape == (1, 6)
    assert batch.attention_mask.shape == (1, 1, 6, 6)
    assert batch.attention_mask.any(dim=-1).all()  # the softmax over nothing would be 0 / 0


def test_a_batch_without_targets_reads_the_same_and_trains_nothing() -> None:
    batch = collate_packed([[SHORT], [LONG]], PAD, length=6)
    blind = batch.without_targets()
    assert torch.equal(blind.input_ids, batch.input_ids)
    assert not blind.loss_positions.any()
    assert (len(blind.targets), blind.tokens) == (0, 0)


def test_a_batch_moves_as_a_whole() -> None:
    for batch in (collate([SHORT, LONG], PAD), collate_packed([[SHORT], [LONG]], PAD, length=6)):
        moved = batch.to(torch.device("meta"))
        values = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
        assert {value.device.type for value in values} == {"meta"}
        assert moved.tokens == batch.tokens
        assert (moved.position_ids is None) == (batch.position_ids is None)


# What a model makes of them

LENGTH, ROW = 64, 70
"""Of the longest text, and of a packed row."""
PACKED_ATTENTIONS = [kernels.ATTENTION, "sdpa"]
"""Those that take a mask of who sees whom. Eager attention adds its mask to the scores, and a bool would add 0 or 1."""
Gradients = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def own_tokenizer() -> Any:
    return new.train_tokenizer(itertools.islice(high_street.documents(0), 200), 512)


@pytest.fixture(scope="module")
def texts(own_tokenizer: Any) -> list[Example]:
    """Six pieces of running text, of different lengths."""
    story = Text(1, " ".join(itertools.islice(high_street.documents(1), 4)))
    pieces = itertools.islice(encode_text(story, own_tokenizer, max_length=LENGTH), 6)
    return [
        Example(piece.row, piece.input_ids[:length], piece.completion_mask[:length])
        for piece, length in zip(pieces, (LENGTH, 40, 30, 33, 30, 7), strict=True)
    ]


@pytest.fixture(scope="module")
def model(own_tokenizer: Any) -> Any:
    """A tiny Llama whose weights are large enough for its attention to be sharp, and its logits far from uniform."""
    kernels.register_attention()
    torch.manual_seed(0)
    llama: Any = new.new_llama(own_tokenizer, width=64, layers=2, length=LENGTH)
    with torch.no_grad():
        for weight in llama.parameters():
            weight.normal_(1, 0.1) if weight.dim() == 1 else weight.normal_(0, 0.15)
    return llama


def pack(texts: Sequence[Example], *, count: int = 3) -> Batch:
    """The texts in three rows: one that leaves room, and two and three that leave none."""
    return collate_packed([texts[:1], texts[1:3], texts[3:]], PAD, length=ROW)


def logits_of(model: Any, batch: Batch) -> torch.Tensor:
    places = {} if batch.position_ids is None else {"position_ids": batch.position_ids}
    logits: torch.Tensor = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, **places).logits
    return logits


def loss_and_gradients(model: Any, batches: Sequence[Batch]) -> tuple[float, Gradients]:
    """The mean loss a trained token over the batches, and its gradients added up over them."""
    model.zero_grad()
    trained, total = sum(len(batch.targets) for batch in batches), 0.0
    for batch in batches:
        logits = logits_of(model, batch)[batch.loss_positions]
        loss = functional.cross_entropy(logits, batch.targets, reduction="sum") / trained
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total, {name: weight.grad.clone() for name, weight in model.named_parameters()}


def assert_same(ours: tuple[float, Gradients], theirs: tuple[float, Gradients]) -> None:
    # Rounding of float32 comes to 1e-6 in the loss and 1e-7 in the gradients; the largest of these are 0.01 to 0.2.
    assert ours[0] == pytest.approx(theirs[0], abs=1e-5)
    torch.testing.assert_close(ours[1], theirs[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("attention", [*PACKED_ATTENTIONS, "eager"])
def test_padded_batches_equal_one_example_at_a_time(attention: str, model: Any, texts: list[Example]) -> None:
    model.set_attn_implementation("eager")
    alone = loss_and_gradients(model, [collate([text], PAD) for text in texts])
    model.set_attn_implementation(attention)
    assert_same(loss_and_gradients(model, [collate(texts, PAD)]), alone)


@pytest.mark.parametrize("attention", PACKED_ATTENTIONS)
def test_packed_batches_equal_one_example_at_a_time(attention: str, model: Any, texts: list[Example]) -> None:
    model.set_attn_implementation("eager")
    alone = loss_and_gradients(model, [collate([text], PAD) for text in texts])
    model.set_attn_implementation(attention)
    assert_same(loss_and_gradients(model, [pack(texts)]), alone)


@pytest.mark.parametrize("attention", PACKED_ATTENTIONS)
def test_rows_that_are_missing_change_nothing(attention: str, model: Any, texts: list[Example]) -> None:
    model.set_attn_implementation(attention)
    assert_same(loss_and_gradients(model, [pack(texts, count=5)]), loss_and_gradients(model, [pack(texts)]))


@pytest.mark.parametrize("attention", PACKED_ATTENTIONS)
@pytest.mark.parametrize("changed", [0, 1, 2])
def test_a_text_does_not_see_its_neighbours_in_a_packed_row(
    changed: int, attention: str, model: Any, texts: list[Example]
) -> None:
    model.set_attn_implementation(attention)
    row = texts[3:]
    other = Example(9, tuple((token + 1) % 512 for token in row[changed].input_ids), row[changed].completion_mask)
    changed_row = [*row[:changed], other, *row[changed + 1 :]]
    with torch.no_grad():
        before, after = (logits_of(model, collate_packed([each], PAD, length=ROW))[0] for each in (row, changed_row))
    ends = [0, *itertools.accumulate(map(len, row))]
    same = [torch.equal(before[start:end], after[start:end]) for start, end in itertools.pairwise(ends)]
    assert same == [place != changed for place in range(3)]


@pytest.mark.parametrize("attention", PACKED_ATTENTIONS)
def test_what_fills_a_row_changes_no_text(attention: str, model: Any, texts: list[Example]) -> None:
    model.set_attn_implementation(attention)
    with torch.no_grad():
        one, other = (logits_of(model, collate_packed([texts[:1]], pad, length=ROW))[0] for pad in (PAD, 17))
    assert torch.equal(one[:LENGTH], other[:LENGTH])
