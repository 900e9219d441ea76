"""What a model answers: greedy decoding, the same for every face."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import Thread
from typing import TYPE_CHECKING, Any

from ftdemo.batches import render
from ftdemo.data import Row, Turn
from ftdemo.events import Answer
from ftdemo.methods import precision

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_NEW_TOKENS = 96
_BATCH_ROWS = 20


def answer_rows(
    model: Any, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], *, max_new_tokens: int = MAX_NEW_TOKENS
) -> tuple[Answer, ...]:
    """Answer the prompt of each row greedily, in batches: the same model gives the same answers."""
    answers: list[Answer] = []
    for start in range(0, len(rows), _BATCH_ROWS):
        batch = rows[start : start + _BATCH_ROWS]
        texts = [render(row.prompt, tokenizer, to_be_answered=True) for row in batch]
        outputs = _generate(model, tokenizer, texts, max_new_tokens)
        answers += [
            Answer(row.prompt[-1].content, text, row.reference, stopped)
            for row, (text, stopped) in zip(batch, outputs, strict=True)
        ]
    return tuple(answers)


def stream_reply(
    model: Any, tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], *, max_new_tokens: int = 256
) -> Iterator[str]:
    """The reply to a conversation, piece by piece as it is generated."""
    from transformers import TextIteratorStreamer

    inputs = _inputs(model, tokenizer, [render(turns, tokenizer, to_be_answered=True)])
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    settings = {**_greedy(tokenizer, max_new_tokens), "streamer": streamer}

    def generate() -> None:
        with precision(model):
            model.generate(**inputs, **settings)

    thread = Thread(target=generate, daemon=True)
    thread.start()
    yield from (piece for piece in streamer if piece)
    thread.join()


def _generate(
    model: Any, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_new_tokens: int
) -> list[tuple[str, bool]]:
    """The continuation of each text, and whether it ended with the stop token."""
    import torch

    inputs = _inputs(model, tokenizer, texts)
    model.eval()
    with torch.inference_mode(), precision(model):
        output = model.generate(**inputs, **_greedy(tokenizer, max_new_tokens))
    new = output[:, inputs["input_ids"].shape[1] :].tolist()
    stops = [tokenizer.eos_token_id in ids for ids in new]
    return list(zip(tokenizer.batch_decode(new, skip_special_tokens=True), stops, strict=True))


def _inputs(model: Any, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> dict[str, Any]:
    encoded = tokenizer(list(texts), add_special_tokens=False, padding=True, padding_side="left", return_tensors="pt")
    return {name: encoded[name].to(model.device) for name in ("input_ids", "attention_mask")}


def _greedy(tokenizer: PreTrainedTokenizerBase, max_new_tokens: int) -> dict[str, Any]:
    return {
        "do_sample": False,
        "max_new_tokens": max_new_tokens,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
