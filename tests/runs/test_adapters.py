"""An adapter turned down and up: at 0 the base answers, at 1 the model as trained."""

from __future__ import annotations

import pytest
import torch

from ftdemo.data import Row, Turn
from ftdemo.errors import UsageError
from ftdemo.evaluation.generate import answer_rows
from ftdemo.runs.adapters import _at_strength, _with_adapters, answer_at_strength
from ftdemo.runs.run import Run

QUESTION = "Where is my lamp, order 7?"


def text_of(run: Run, strength: float) -> str:
    return "".join(token.text for token in answer_at_strength(str(run.folder), strength, QUESTION))


def test_at_0_the_base_answers_bit_for_bit_and_at_1_the_model_as_trained(lora_run: Run) -> None:
    row = Row(1, (Turn("user", QUESTION), Turn("assistant", "")))
    base = lora_run.load_base()
    assert base is not None
    for strength, loaded in ((0.0, base), (1.0, lora_run.load_model())):
        [answer] = answer_rows(*loaded, [row], max_new_tokens=lora_run.reply_tokens)
        assert text_of(lora_run, strength) == answer.text
    off = answer_at_strength(str(lora_run.folder), 0.0, QUESTION)
    assert off
    assert all(token.tuned == token.base for token in off)


def test_the_further_the_adapter_is_turned_up_the_less_the_two_agree(lora_run: Run) -> None:
    def disagreement(strength: float) -> float:
        tokens = answer_at_strength(str(lora_run.folder), strength, QUESTION)
        return sum(abs(token.tuned - token.base) for token in tokens) / len(tokens)

    assert 0 < disagreement(0.1) < disagreement(1.0)
    assert all(token.tuned <= 0 and token.base <= 0 for token in answer_at_strength(str(lora_run.folder), 2.0, "Hm."))


def test_the_adapter_is_afterwards_as_it_was_trained(lora_run: Run) -> None:
    model, tokenizer, _ = _with_adapters((str(lora_run.folder),))
    ids = tokenizer(QUESTION, return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        with _at_strength(model, 1.7):
            assert not torch.equal(model(input_ids=ids).logits, before)
        assert torch.equal(model(input_ids=ids).logits, before)


def test_a_run_without_an_adapter_has_nothing_to_turn_down(chat_run: Run) -> None:
    with pytest.raises(UsageError, match="contains no adapter"):
        answer_at_strength(str(chat_run.folder), 0.5, QUESTION)
