from __future__ import annotations

from typing import Any

import pytest
import torch

from ftdemo.data import BUILT_IN, Row, Turn, read_rows
from ftdemo.evaluate import judge
from ftdemo.generate import answer_rows, stream_reply
from ftdemo.models import Source, load_causal_lm


@pytest.fixture(scope="module")
def model(smollm2: Source) -> Any:
    return load_causal_lm(smollm2, torch.float32)


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for row in read_rows(BUILT_IN["support-voice"].heldout)[:3] if isinstance(row, Row)]


def test_answers_in_a_batch_are_those_given_alone(model: Any, tokenizer: Any, rows: list[Row]) -> None:
    together = answer_rows(model, tokenizer, rows, max_new_tokens=12)
    alone = [answer_rows(model, tokenizer, [row], max_new_tokens=12)[0] for row in rows]
    assert list(together) == alone


def test_a_streamed_reply_is_the_answer_in_pieces(model: Any, tokenizer: Any, rows: list[Row]) -> None:
    pieces = list(stream_reply(model, tokenizer, rows[0].prompt, max_new_tokens=12))
    assert len(pieces) > 1
    assert "".join(pieces) == answer_rows(model, tokenizer, rows[:1], max_new_tokens=12)[0].text


def test_an_answer_says_whether_the_model_stopped_by_itself(model: Any, tokenizer: Any) -> None:
    row = Row(1, (Turn("user", "Say yes. Only that one word."), Turn("assistant", "Yes.")))
    (cut,) = answer_rows(model, tokenizer, [row], max_new_tokens=1)
    (whole,) = answer_rows(model, tokenizer, [row], max_new_tokens=80)
    assert not cut.stopped
    assert whole.stopped
    assert (cut.prompt, cut.reference) == ("Say yes. Only that one word.", "Yes.")


def test_the_base_model_does_not_know_the_format(model: Any, tokenizer: Any, rows: list[Row]) -> None:
    sampled = judge(model, tokenizer, rows, data="support-voice")
    assert sampled.scores["format"] == 0
    assert sampled.scores.keys() == {"stopped", "format", "voice"}
