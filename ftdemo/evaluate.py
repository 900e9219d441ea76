"""How good a model's answers are: held-out prompts answered, and scored by the data set's own checker."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ftdemo.data import BUILT_IN, Row
from ftdemo.events import Answer, Sampled
from ftdemo.generate import answer_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def judge(model: Any, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row], *, data: str, step: int = 0) -> Sampled:
    """Let the model answer held-out rows and score what it says.

    Args:
        model: A causal language model, with or without an adapter.
        tokenizer: The model's own.
        rows: Rows that were not trained on; the last assistant turn of each is what is asked for.
        data: The data set's name: a built-in one brings a checker, a file of the user's has none.
        step: How many optimizer steps the model has taken.
    """
    began = time.perf_counter()
    answers = answer_rows(model, tokenizer, rows)
    seconds = time.perf_counter() - began
    return Sampled(step=step, answers=answers, scores=mean_scores(answers, data), seconds=seconds)


def mean_scores(answers: Sequence[Answer], data: str) -> dict[str, float]:
    """The mean of each score over the answers, from 0 to 1.

    ``stopped`` is the share of answers that the model ended by itself; the data set's checker adds its own.
    """
    if not answers:
        return {}
    scores = [{"stopped": float(answer.stopped)} | _checked(answer.text, data) for answer in answers]
    return {name: round(sum(score[name] for score in scores) / len(scores), 4) for name in scores[0]}


def _checked(text: str, data: str) -> dict[str, float]:
    return BUILT_IN[data].score(text) if data in BUILT_IN else {}
