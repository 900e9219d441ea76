from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftdemo.data import Row, Text, load_splits
from ftdemo.data.tokenize import render
from ftdemo.errors import RecipeError
from ftdemo.models import new
from ftdemo.recipe import Recipe
from ftdemo.training.inspection import inspect_recipe

TALK = [
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Two. 🚢"},
    {"role": "user", "content": "Three?"},
    {"role": "assistant", "content": "Four:\n½ kg"},
]
TALES = Recipe(method="scratch", examples=300, vocabulary=512, max_length=64, batch_tokens=64)


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    file = tmp_path / "talk.jsonl"
    file.write_text(json.dumps({"messages": TALK}) + "\n", encoding="utf-8")
    return file


def test_the_spans_of_a_chat_join_to_what_the_model_reads() -> None:
    recipe = Recipe(model="smollm2", examples=12)
    inspection = inspect_recipe(recipe)
    rows = [row for row in load_splits(recipe.data, seed=0, examples=12).train if isinstance(row, Row)]
    joined = ["".join(text for text, _ in inspection.spans(example)) for example in inspection.examples]
    assert joined == [render(row.turns, inspection.tokenizer) for row in rows]
    assert len(joined) == 12


def test_the_trained_spans_of_a_chat_are_the_answers_with_their_stop_tokens(talk: Path) -> None:
    inspection = inspect_recipe(Recipe(model="smollm2", data=str(talk)))
    (example,) = inspection.examples
    trained = [text for text, is_trained in inspection.spans(example) if is_trained]
    assert trained == ["Two. 🚢<|im_end|>", "Four:\n½ kg<|im_end|>"]


def test_a_stop_token_that_is_left_out_of_training_is_read_only(talk: Path) -> None:
    inspection = inspect_recipe(Recipe(model="smollm2", data=str(talk), train_stop=False))
    (example,) = inspection.examples
    trained = [text for text, is_trained in inspection.spans(example) if is_trained]
    assert trained == ["Two. 🚢", "Four:\n½ kg"]


def test_spans_take_turns(talk: Path) -> None:
    inspection = inspect_recipe(Recipe(model="smollm2", data=str(talk)))
    assert [is_trained for _, is_trained in inspection.spans(inspection.examples[0])] == [False, True] * 2 + [False]


def test_of_a_chat_in_which_all_is_trained_only_the_first_token_is_read_only(talk: Path) -> None:
    inspection = inspect_recipe(Recipe(model="smollm2", data=str(talk), train_on="all"))
    (first, trained) = inspection.spans(inspection.examples[0])
    assert first == ("<|im_start|>", False)
    assert trained[1]
    assert trained[0].endswith("Four:\n½ kg<|im_end|>\n")


def test_what_max_length_cuts_off_is_not_shown(talk: Path) -> None:
    inspection = inspect_recipe(Recipe(model="smollm2", data=str(talk), max_length=48, batch_tokens=64))
    assert list(inspection.examples.truncated) == [1]
    spans = list(inspection.spans(inspection.examples[0]))
    assert sum(len(inspection.tokenizer(text)["input_ids"]) for text, _ in spans) == 48


def test_the_spans_of_a_running_text_join_to_it_and_only_its_first_token_is_read_only() -> None:
    inspection = inspect_recipe(TALES)
    story = next(row for row in load_splits(TALES.data, seed=0, examples=300).train if isinstance(row, Text))
    pieces = [list(inspection.spans(example)) for example in inspection.examples if example.row == story.number]
    assert all([trained for _, trained in piece] == [False, True] for piece in pieces)
    assert pieces[0][0][0] + "".join(piece[1][0] for piece in pieces) == new.START + story.text + new.STOP


def test_a_new_models_tokenizer_is_learned_from_the_rows() -> None:
    assert len(inspect_recipe(TALES).tokenizer) == 512


def test_labels_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"(?s)routing contains labels.*Name chats or texts"):
        inspect_recipe(Recipe(method="probe"))
