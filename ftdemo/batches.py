"""From rows to batches: the chat template, which tokens are trained, and batches of rows of like length.

The mask goes by *position* in the rendered text, never by token id: where the padding token is also the stop token,
as in SmolLM2, masking by id would untrain stopping.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftdemo.data import Row, Turn
from ftdemo.errors import DataError, ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

_BUCKET_BATCHES = 8
"""Rows are sorted by length within stretches of about this many batches, so that batches still differ by epoch."""


@dataclass(frozen=True)
class Example:
    """A row as token ids.

    `trained[i]` says whether the model is taught to predict ``input_ids[i]`` from the tokens before it. The first
    token has nothing before it, so it is never trained.
    """

    row: int
    input_ids: tuple[int, ...]
    trained: tuple[bool, ...]
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def trained_tokens(self) -> int:
        """How many tokens have a loss."""
        return sum(self.trained)


@dataclass(frozen=True)
class Batch:
    """Some examples, padded on the right to the longest of them."""

    input_ids: torch.Tensor
    """int64, rows x length."""
    attention_mask: torch.Tensor
    """int64, rows x length: 1 on text, 0 on padding."""
    predict: torch.Tensor
    """bool, rows x length: the positions whose *next* token is trained."""
    targets: torch.Tensor
    """int64: the tokens to predict there, in the order of ``predict``'s true places."""
    tokens: int
    """Tokens of real text."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return Batch(
            input_ids=self.input_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            predict=self.predict.to(device),
            targets=self.targets.to(device),
            tokens=self.tokens,
        )


def encode(row: Row, tokenizer: PreTrainedTokenizerBase, *, train_on: str, max_length: int) -> Example:
    """A row as token ids and the tokens to train.

    With ``train_on="completion"`` these are, in every assistant turn, its content and the stop token that ends it;
    with ``"all"`` every token but the first.

    Raises:
        DataError: If the row's text contains one of the template's control tokens.
        ModelError: If the tokenizer has no chat template, or one that does not end a turn with the stop token.
    """
    _refuse_control_tokens(row, tokenizer)
    text = render(row.turns, tokenizer)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, places = encoded["input_ids"], encoded["offset_mapping"]
    spans = [(0, len(text))] if train_on == "all" else _assistant_spans(row, text, tokenizer)
    trained = [any(start <= a and start < b <= end for start, end in spans) for a, b in places]
    trained[0] = False
    kept = slice(0, max_length)
    return Example(row.number, tuple(ids[kept]), tuple(trained[kept]), truncated=len(ids) > max_length)


def render(turns: Sequence[Turn], tokenizer: PreTrainedTokenizerBase, *, to_be_answered: bool = False) -> str:
    """The conversation as the one text the model reads: the only place where a chat template is applied."""
    if not tokenizer.chat_template:
        raise ModelError("The tokenizer has no chat template.", "Use an instruction-tuned model, which has one.")
    messages = [turn.as_message() for turn in turns]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=to_be_answered)
    return str(text)


def plan_batches(examples: Sequence[Example], *, batch_tokens: int, epochs: float, seed: int) -> list[list[Example]]:
    """Which examples go together, step by step, for the whole run.

    Each epoch is shuffled, then rows of like length are put together, so that little is padded; a batch holds at most
    `batch_tokens` tokens with its padding, and at least one row.
    """
    rng = random.Random(seed)
    plan: list[list[Example]] = []
    for epoch in range(math.ceil(epochs)):
        batches = list(_bucketed(examples, batch_tokens, rng))
        rng.shuffle(batches)
        share = min(1.0, epochs - epoch)
        plan += batches[: math.ceil(share * len(batches))]
    return plan


def collate(examples: Sequence[Example], pad_token_id: int) -> Batch:
    """Pad examples into one batch."""
    import torch

    length = max(map(len, examples))
    input_ids = torch.full((len(examples), length), pad_token_id, dtype=torch.long)
    attention_mask = torch.zeros_like(input_ids)
    predict = torch.zeros(len(examples), length, dtype=torch.bool)
    for index, example in enumerate(examples):
        input_ids[index, : len(example)] = torch.tensor(example.input_ids)
        attention_mask[index, : len(example)] = 1
        predict[index, : len(example) - 1] = torch.tensor(example.trained[1:], dtype=torch.bool)
    targets = input_ids.roll(-1, dims=1)[predict]
    return Batch(input_ids, attention_mask, predict, targets, tokens=sum(map(len, examples)))


def _bucketed(examples: Sequence[Example], batch_tokens: int, rng: random.Random) -> Iterator[list[Example]]:
    shuffled = rng.sample(examples, len(examples))
    mean_length = sum(map(len, examples)) / len(examples)
    stretch = max(1, round(_BUCKET_BATCHES * batch_tokens / mean_length))
    for start in range(0, len(shuffled), stretch):
        batch: list[Example] = []
        for example in sorted(shuffled[start : start + stretch], key=len):
            if batch and (len(batch) + 1) * len(example) > batch_tokens:
                yield batch
                batch = []
            batch.append(example)
        yield batch


def _assistant_spans(row: Row, text: str, tokenizer: Any) -> list[tuple[int, int]]:
    """Where in the text each assistant turn's content begins and its stop token ends, in characters."""
    spans = []
    for index, turn in enumerate(row.turns):
        if turn.role != "assistant":
            continue
        before = render(row.turns[:index], tokenizer, to_be_answered=True)
        upto = render(row.turns[: index + 1], tokenizer)
        stop = upto.rfind(tokenizer.eos_token)
        if not (upto.startswith(before) and text.startswith(upto)) or stop < len(before):
            raise ModelError(
                f"Row {row.number}: the chat template does not end an assistant turn with the stop token "
                f"{tokenizer.eos_token}, or changes what was said before.",
                "The model would not learn to stop. Use a model whose template closes each turn with its stop token.",
            )
        spans.append((len(before), stop + len(tokenizer.eos_token)))
    return spans


def _refuse_control_tokens(row: Row, tokenizer: Any) -> None:
    for turn in row.turns:
        for token in tokenizer.all_special_tokens:
            if token in turn.content:
                raise DataError(
                    f"Row {row.number}: the {turn.role} turn contains {token}, which would end or start a turn.",
                    "Take it out of the text: control tokens belong to the chat template alone.",
                )
