"""What other trainers have to know of a model's chat template: where answers begin and end, and what is trained."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ftdemo.data import Row, Turn
from ftdemo.data.tokenize import encode, render
from ftdemo.errors import FtdemoError

_USER, _ANSWER = "QUESTION", "ANSWER"
_CHATML_TURN = re.compile(
    r"""\{\{-?\s*'<\|im_start\|>'\s*\+\s*message\['role'\]\s*\+\s*'\n'\s*\+\s*message\['content'\]\s*\+\s*"""
    r"""'<\|im_end\|>'\s*\+\s*'\n'\s*-?\}\}"""
)
"""How ChatML templates write a turn, as those of SmolLM2 and of the bundled models do."""
_MARKED_TURN = (
    r"{{ '<|im_start|>' + message['role'] + '\n' }}"
    r"{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    r"{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}"
).replace(r"\n", "\n")
_LONG = 2**17


@dataclass(frozen=True)
class ChatFormat:
    """A chat template in the terms of other trainers."""

    stop: str
    """The stop token that ends each answer."""
    user_part: str
    """What the template writes before a user's turn."""
    answer_part: str
    """What it writes before an answer."""
    after_stop: str
    """What it writes after an answer's stop token. Trainers that mask by turns train this, too."""
    marked_template: str | None
    """The template with `generation` marks around what ftdemo trains; None if it has no known form."""


def chat_format(tokenizer: Any, rows: Sequence[Row]) -> ChatFormat | None:
    """The format of a tokenizer's chat template, or None if it has none that could be taken apart.

    Args:
        tokenizer: The model's.
        rows: Conversations by which the marks are checked: they have to give the tokens and the mask of `encode`.
    """
    talk = [Turn("user", _USER), Turn("assistant", _ANSWER), Turn("user", _USER), Turn("assistant", _ANSWER)]
    try:
        text, asked = render(talk, tokenizer), render(talk[:1], tokenizer)
        opened = render(talk[:1], tokenizer, to_be_answered=True)
    except FtdemoError:
        return None
    between = text.split(_ANSWER)[1].partition(_USER)[0]
    _, found, rest = between.partition(tokenizer.eos_token or "\0")
    if not found or not opened.startswith(asked):
        return None
    return ChatFormat(
        stop=tokenizer.eos_token,
        user_part=rest.lstrip("\n"),
        answer_part=opened.removeprefix(asked),
        after_stop=text.rpartition(tokenizer.eos_token)[2],
        marked_template=_marked(tokenizer, rows),
    )


def _marked(tokenizer: Any, rows: Sequence[Row]) -> str | None:
    template = tokenizer.chat_template
    if not isinstance(template, str) or len(_CHATML_TURN.findall(template)) != 1:
        return None
    marked = _CHATML_TURN.sub(lambda _: _MARKED_TURN, template)
    return marked if all(_is_same(row, tokenizer, marked) for row in rows) else None


def _is_same(row: Row, tokenizer: Any, marked: str) -> bool:
    """Whether a template with marks gives the tokens and the mask that ftdemo trains by."""
    ours = encode(row, tokenizer, train_on="completion", max_length=_LONG)
    theirs = tokenizer.apply_chat_template(
        row.messages, chat_template=marked, return_dict=True, return_assistant_tokens_mask=True
    )
    mask = tuple(map(bool, theirs["assistant_masks"]))
    return (tuple(theirs["input_ids"]), mask) == (ours.input_ids, ours.completion_mask)
