"""What a model answers: greedy decoding, the same in the shell, in demos and in evaluation."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any

from ftdemo.data import AnyPrompt, Row, Trial, Turn
from ftdemo.data.tokenize import render
from ftdemo.errors import FtdemoError, ModelError, UsageError, first_line
from ftdemo.events import Answer
from ftdemo.models.layers import hook_head_input, precision, refuse_unknown_tokens
from ftdemo.models.tokenizer import stop_ids, window_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_NEW_TOKENS = 96
"""Of an answer that is scored, unless a recipe sets another limit."""
REPLY_TOKENS = 256
"""Of a reply in a chat, at least. It can be longer, because it is read as it is generated."""
_BATCH_ROWS = 32
_OPENING_WORDS = 12
"""How many words of a running text the model is given to continue."""


def answer_rows(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[AnyPrompt],
    *,
    max_new_tokens: int = MAX_NEW_TOKENS,
    until: Callable[[], bool] | None = None,
) -> tuple[Answer, ...]:
    """Answer the prompt of each row greedily, in batches: the same model gives the same answers.

    The prompt of a conversation is the turns before the last assistant turn; of a running text, its first words; of a
    trial, its opening. A trial also limits the length of its answer. Once `until` is true, generation stops and the
    text so far is the answer. A prompt that fills the model's context has an empty answer.
    """
    answers: list[Answer] = []
    for start in range(0, len(rows), _BATCH_ROWS):
        batch = rows[start : start + _BATCH_ROWS]
        chats = isinstance(batch[0], Row)
        prompts = [prompt_of(row, tokenizer) for row in batch]
        texts = [text for text, _displayed, _reference in prompts]
        longest = max(row.max_new_tokens if isinstance(row, Trial) else max_new_tokens for row in batch)
        outputs = _generate(model, tokenizer, texts, longest, until, add_special_tokens=not chats)
        answers += [
            Answer(displayed, text, reference, stopped)
            for (_, displayed, reference), (text, stopped) in zip(prompts, outputs, strict=True)
        ]
    return tuple(answers)


def prompt_of(row: Any, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str, str]:
    """The text that the model reads, the part of it to display, and the continuation in the data."""
    if isinstance(row, Row):
        text = render(row.prompt, tokenizer, to_be_answered=True, tools=row.tools)
        return text, row.prompt[-1].content, row.reference
    if isinstance(row, Trial):
        return row.opening, row.opening, row.reference
    opening = " ".join(row.text.split(" ")[:_OPENING_WORDS])
    return opening, opening, row.text[len(opening) :]


def stream_reply(
    model: Any, tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], *, max_new_tokens: int = REPLY_TOKENS
) -> Iterator[str]:
    """The reply to a conversation, piece by piece as it is generated. Close the iterator to end the reply.

    Raises:
        FtdemoError: If generation fails, after the pieces that were generated before.
    """
    return _stream(model, tokenizer, render(turns, tokenizer, to_be_answered=True), max_new_tokens)


def stream_continuation(
    model: Any, tokenizer: PreTrainedTokenizerBase, opening: str, *, max_new_tokens: int = REPLY_TOKENS
) -> Iterator[str]:
    """The continuation of a text, piece by piece as it is generated. Errors and closing are as in `stream_reply`."""
    return _stream(model, tokenizer, opening, max_new_tokens, add_special_tokens=True)


def _stream(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    max_new_tokens: int,
    *,
    add_special_tokens: bool = False,
) -> Iterator[str]:
    from transformers import TextIteratorStreamer

    inputs = _inputs(model, tokenizer, [text], add_special_tokens=add_special_tokens)
    window, length = _window(model), inputs["input_ids"].shape[1]
    if length >= window:
        what = f"The prompt has {length:,} tokens, but the model reads at most {window:,}, including its answer."
        raise UsageError(what, "Shorten the prompt, or choose a model with a longer context window.")
    max_new_tokens = min(max_new_tokens, window - length)
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    closed, failures = Event(), list[BaseException]()
    settings = {**_greedy(model, tokenizer, max_new_tokens), **_ends(closed.is_set), "streamer": streamer}

    def generate() -> None:
        """Fill the streamer; an error is kept for the reader's thread."""
        try:
            with _inference(model):
                model.generate(**inputs, **settings)
        except BaseException as error:
            failures.append(error)
        finally:  # the reader waits for this mark, and `generate` sets it only where nothing fails
            streamer.on_finalized_text("", stream_end=True)

    # `generate` returns only once it is done, so it fills the streamer from a thread of its own.
    thread = Thread(target=generate, daemon=True)
    thread.start()
    try:
        yield from (piece for piece in streamer if piece)
    finally:
        closed.set()
        thread.join()
    for error in failures:
        raise _explained(error) from error


def _explained(error: BaseException) -> FtdemoError:
    """What ended a reply, as an error that every command and demo can show."""
    if isinstance(error, FtdemoError):
        return error
    return ModelError(
        f"The model could not finish its answer: {first_line(error)}.",
        "Try a shorter message. If that does not help, the model or its tokenizer may be damaged.",
    )


def _generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    max_new_tokens: int,
    until: Callable[[], bool] | None,
    *,
    add_special_tokens: bool = False,
) -> list[tuple[str, bool]]:
    """The continuation of each text, and whether it ended with the stop token."""
    inputs = _inputs(model, tokenizer, texts, add_special_tokens=add_special_tokens)
    fits = (inputs["attention_mask"].sum(1) < _window(model)).tolist()
    if not all(fits):
        short = [text for text, fit in zip(texts, fits, strict=True) if fit]
        answers = iter(
            _generate(model, tokenizer, short, max_new_tokens, until, add_special_tokens=add_special_tokens)
            if short
            else ()
        )
        return [next(answers) if fit else ("", False) for fit in fits]
    max_new_tokens = min(max_new_tokens, _window(model) - inputs["input_ids"].shape[1])
    with _inference(model):
        output = model.generate(**inputs, **_greedy(model, tokenizer, max_new_tokens), **_ends(until))
    new = output[:, inputs["input_ids"].shape[1] :].tolist()
    ends = stop_ids(tokenizer, model.generation_config)
    stops = [not set(ends).isdisjoint(ids) for ids in new]
    return list(zip(tokenizer.batch_decode(new, skip_special_tokens=True), stops, strict=True))


def _ends(until: Callable[[], bool] | None) -> dict[str, Any]:
    """The setting that ends generation once `until` is true."""
    if until is None:
        return {}
    return {"stopping_criteria": [lambda ids, _scores: ids.new_full(ids.shape[:1], until(), dtype=bool)]}


@contextmanager
def _inference(model: Any) -> Iterator[None]:
    """Inside this context a model only generates, so DoRA computes the lengths of its weights once, not per token."""
    import torch

    model.eval()
    # The head gets the last position of each prompt, a slice with gaps. Given that, torch would copy the head's weights
    # for each prompt, half a gigabyte for ten prompts and SmolLM2.
    without_gaps = hook_head_input(model, lambda hidden: hidden.contiguous())
    with torch.inference_mode(), precision(model), without_gaps, _DORA_CACHE:
        yield


class _DoraCache:
    """Turns on PEFT's cache for DoRA, one switch for the whole process: the last thread to leave turns it off."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._users = 0

    def __enter__(self) -> None:
        self._count(1)

    def __exit__(self, *_: object) -> None:
        self._count(-1)

    def _count(self, change: int) -> None:
        from peft.helpers import DoraCaching

        with self._lock:
            self._users += change
            DoraCaching()(enabled=self._users > 0)


_DORA_CACHE = _DoraCache()


def _window(model: Any) -> int:
    """How many tokens the model reads, an answer included."""
    return window_of(model.config) or sys.maxsize


def _inputs(
    model: Any, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], *, add_special_tokens: bool = False
) -> dict[str, Any]:
    # Padded on the left, so that the first new token of every row follows directly after its prompt.
    encoded = tokenizer(
        list(texts), add_special_tokens=add_special_tokens, padding=True, padding_side="left", return_tensors="pt"
    )
    refuse_unknown_tokens(model, tokenizer, encoded["input_ids"])
    return {name: encoded[name].to(model.device) for name in ("input_ids", "attention_mask")}


def _greedy(model: Any, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int) -> dict[str, Any]:
    return {
        "do_sample": False,
        "max_new_tokens": max_new_tokens,
        "eos_token_id": stop_ids(tokenizer, model.generation_config) or None,
        "pad_token_id": tokenizer.pad_token_id,
    }
