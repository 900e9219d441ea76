from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from ftdemo.batches import Example, collate, encode, plan_batches, render
from ftdemo.data import BUILT_IN, Row, Turn, read_rows
from ftdemo.errors import DataError, ModelError

SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
LETTER = Row(1, (Turn("user", "Is it open?"), Turn("assistant", "Aye. Until five.")))
TALK = Row(
    2,
    (
        Turn("system", "Be brief."),
        Turn("user", "One?"),
        Turn("assistant", "Two."),
        Turn("user", "Three?"),
        Turn("assistant", "Four.\n\nFive: 12 ½ kg"),
    ),
)


def trained_text(row: Row, tokenizer: Any, **settings: Any) -> str:
    """The row's text with what is trained in square brackets."""
    example = encode(row, tokenizer, **{"train_on": "completion", "max_length": 512, **settings})
    text = ""
    for index, (token, trained) in enumerate(zip(example.input_ids, example.trained, strict=True)):
        before = index > 0 and example.trained[index - 1]
        text += ("[" if trained and not before else "]" if before and not trained else "") + tokenizer.decode([token])
    return text + ("]" if example.trained[-1] else "")


def test_the_mask_covers_exactly_the_completion_and_its_stop_token(tokenizer: Any) -> None:
    assert trained_text(LETTER, tokenizer) == (
        SYSTEM + "<|im_start|>user\nIs it open?<|im_end|>\n<|im_start|>assistant\n[Aye. Until five.<|im_end|>]\n"
    )


def test_every_assistant_turn_is_trained_with_its_own_stop_token(tokenizer: Any) -> None:
    example = encode(TALK, tokenizer, train_on="completion", max_length=512)
    trained = [token for token, is_trained in zip(example.input_ids, example.trained, strict=True) if is_trained]
    assert tokenizer.decode(trained) == "Two.<|im_end|>Four.\n\nFive: 12 ½ kg<|im_end|>"


def test_words_that_stand_in_the_prompt_too_are_trained_only_in_the_answer(tokenizer: Any) -> None:
    echo = Row(3, (Turn("user", "Say aye."), Turn("assistant", "Say aye.")))
    assert trained_text(echo, tokenizer).count("Say aye.") == 2
    assert trained_text(echo, tokenizer).endswith("<|im_start|>assistant\n[Say aye.<|im_end|>]\n")


def test_an_answer_that_begins_with_white_space_is_trained_from_its_first_character(tokenizer: Any) -> None:
    row = Row(4, (Turn("user", "Hm?"), Turn("assistant", " \n indented")))
    example = encode(row, tokenizer, train_on="completion", max_length=512)
    trained = [token for token, is_trained in zip(example.input_ids, example.trained, strict=True) if is_trained]
    assert tokenizer.decode(trained) == " \n indented<|im_end|>"


def test_the_stop_token_is_trained_although_it_is_also_the_padding_token(tokenizer: Any) -> None:
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    short = encode(LETTER, tokenizer, train_on="completion", max_length=512)
    long = encode(TALK, tokenizer, train_on="completion", max_length=512)
    batch = collate([short, long], tokenizer.pad_token_id)
    assert (batch.targets == tokenizer.eos_token_id).sum() == 3  # one turn in the first row, two in the second
    assert not batch.predict[batch.attention_mask == 0].any()


def test_train_on_all_trains_every_token_but_the_first(tokenizer: Any) -> None:
    example = encode(LETTER, tokenizer, train_on="all", max_length=512)
    assert not example.trained[0]
    assert all(example.trained[1:])


def test_each_predicted_position_looks_at_the_token_before_its_target(tokenizer: Any) -> None:
    examples = [encode(row, tokenizer, train_on="completion", max_length=512) for row in (LETTER, TALK)]
    batch = collate(examples, tokenizer.pad_token_id)
    rows, columns = batch.predict.nonzero(as_tuple=True)
    assert torch.equal(batch.input_ids[rows, columns + 1], batch.targets)
    assert len(batch.targets) == sum(example.trained_tokens for example in examples)
    assert batch.tokens == batch.attention_mask.sum()


def test_control_tokens_in_the_text_are_refused(tokenizer: Any) -> None:
    row = Row(7, (Turn("user", "a<|im_end|>b"), Turn("assistant", "c")))
    with pytest.raises(DataError, match=r"Row 7: the user turn contains <\|im_end\|>"):
        encode(row, tokenizer, train_on="completion", max_length=512)


def test_truncation_is_marked_and_can_leave_nothing_to_train(tokenizer: Any) -> None:
    example = encode(LETTER, tokenizer, train_on="completion", max_length=16)
    assert example.truncated
    assert len(example) == 16
    assert example.trained_tokens == 0


def test_a_template_without_a_stop_token_is_refused(tokenizer: Any) -> None:
    endless = copy.deepcopy(tokenizer)
    endless.chat_template = "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    with pytest.raises(ModelError, match="does not end an assistant turn with the stop token"):
        encode(LETTER, endless, train_on="completion", max_length=512)


def test_a_tokenizer_without_a_template_is_refused(tokenizer: Any) -> None:
    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    with pytest.raises(ModelError, match="no chat template"):
        render(LETTER.turns, bare)


@pytest.fixture(scope="module")
def examples(tokenizer: Any) -> list[Example]:
    rows = read_rows(BUILT_IN["support-voice"].train)
    return [encode(row, tokenizer, train_on="completion", max_length=512) for row in rows]


def test_every_epoch_visits_every_example_once(examples: list[Example]) -> None:
    plan = plan_batches(examples, batch_tokens=512, epochs=2, seed=0)
    visits = [example.row for batch in plan for example in batch]
    assert sorted(visits) == sorted(2 * [example.row for example in examples])


def test_batches_keep_the_token_budget_with_their_padding(examples: list[Example]) -> None:
    for batch in plan_batches(examples, batch_tokens=512, epochs=1, seed=0):
        assert len(batch) * max(map(len, batch)) <= 512


def test_bucketing_leaves_little_padding(examples: list[Example]) -> None:
    plan = plan_batches(examples, batch_tokens=512, epochs=1, seed=0)
    padded = sum(len(batch) * max(map(len, batch)) for batch in plan)
    text = sum(len(example) for batch in plan for example in batch)
    # In batches of four at random, the longest row of four decides: about a fifth would be padding.
    assert padded <= 1.1 * text


def test_a_row_longer_than_the_budget_gets_a_batch_of_its_own() -> None:
    long, short = Example(1, (5,) * 40, (False, *(True,) * 39)), Example(2, (5,) * 4, (False, True, True, True))
    plan = plan_batches([long, short, short], batch_tokens=16, epochs=1, seed=0)
    assert [long] in plan


def test_the_plan_follows_the_seed(examples: list[Example]) -> None:
    first = plan_batches(examples, batch_tokens=512, epochs=1, seed=0)
    assert first == plan_batches(examples, batch_tokens=512, epochs=1, seed=0)
    assert first != plan_batches(examples, batch_tokens=512, epochs=1, seed=1)


def test_half_an_epoch_is_half_the_batches(examples: list[Example]) -> None:
    whole = plan_batches(examples, batch_tokens=512, epochs=1, seed=0)
    half = plan_batches(examples, batch_tokens=512, epochs=0.5, seed=0)
    assert half == whole[: (len(whole) + 1) // 2]
