"""Settings that have no effect are refused, or reported before the first step."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from conftest import carried_out, write_rows

from ftdemo.errors import RecipeError
from ftdemo.events import Started
from ftdemo.recipe import Recipe
from ftdemo.training.inspection import inspect_recipe
from ftdemo.training.loop import train
from ftdemo.training.prepare import prepare

WEIGHTS_READ = "`max_length` is 4,096, but {model} reads at most 128 tokens. It is set to 128."


def started(recipe: Recipe) -> Started:
    (event,) = islice(train(recipe), 1)
    assert isinstance(event, Started)
    return event


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Six chats: too few to hold any out."""
    rows = [{"prompt": f"Is it {n}?", "completion": "Aye."} for n in range(6)]
    file: Path = write_rows(tmp_path / "few.jsonl", rows)
    return file


def test_a_run_whose_settings_all_have_an_effect_has_no_notes(lora_recipe: Recipe) -> None:
    assert started(lora_recipe).notes == ()


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ({"max_steps": 500, "epochs": 2}, "`max_steps` is 500, but 2 epochs have only 8 steps. Raise `epochs`"),
        ({"examples": 100}, "`examples` is 100, but there are only 36 training examples."),
        ({"save_every": 6}, "`save_every` is 6, which has no effect in 6 steps."),
        ({"sample_every": 50}, "`sample_every` is 50, which has no effect in 6 steps."),
        (
            {"patience": 2},
            "`patience` is 2, but the held-out loss is measured only 3 times, so that the run cannot stop early.",
        ),
        ({"patience": 1, "eval_every": 20}, "`patience` is 1, but the held-out loss is measured only once"),
        ({"sample_prompts": 0}, "Nothing is evaluated, because `sample_prompts` is 0."),
        ({"method": "vera", "weight_decay": 0.1}, "`weight_decay` has no effect: vera trains vectors"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_a_setting_without_effect_is_noted_with_the_reason(
    settings: dict[str, Any], note: str, lora_recipe: Recipe
) -> None:
    (found,) = started(lora_recipe.with_settings(settings)).notes
    assert found[: len(note)] == note


def test_patience_that_can_take_effect_is_not_noted(lora_recipe: Recipe) -> None:
    assert started(lora_recipe.with_settings({"patience": 1})).notes == ()


def test_keys_about_answers_are_noted_for_a_classifier(probe_recipe: Recipe) -> None:
    settings = {"train_on": "all", "sample_prompts": 3, "epochs": 500}
    assert started(probe_recipe.with_settings(settings)).notes == (
        "`train_on` has no effect on a classifier.",
        "`sample_prompts` has no effect on a classifier.",
    )


def test_keys_about_completions_are_noted_for_texts_without_prompts(tmp_path: Path, lora_recipe: Recipe) -> None:
    texts = write_rows(tmp_path / "texts.jsonl", [{"text": f"Ship {n} came in. " * 20} for n in range(30)])
    notes = started(lora_recipe.with_settings({"data": str(texts), "train_on": "all", "train_stop": False})).notes
    assert [note.partition(" has no effect on texts without prompts")[0] for note in notes] == [
        "`train_on`",
        "`train_stop`",
    ]


def test_rows_too_few_to_hold_any_out_are_noted_and_no_grounds_for_patience(few: Path, lora_recipe: Recipe) -> None:
    recipe = lora_recipe.with_settings({"data": str(few)})
    why = f"because {few} has fewer than 10 examples."
    assert started(recipe).notes == (f"Nothing is evaluated, {why}",)
    with pytest.raises(RecipeError) as refusal:
        prepare(recipe.with_settings({"patience": 2}))
    assert refusal.value.what == f"`patience` is 2, but no held-out loss is measured, {why}"
    assert "Leave out `patience`" in refusal.value.remedy


def test_a_folder_without_heldout_rows_is_no_grounds_for_patience(few: Path, lora_recipe: Recipe) -> None:
    few.rename(few.with_name("train.jsonl"))
    with pytest.raises(RecipeError, match=r"has no held-out examples \(heldout\.jsonl\)"):
        prepare(lora_recipe.with_settings({"data": str(few.parent), "patience": 2}))


@pytest.mark.parametrize("settings", [{}, {"packing": True, "batch_tokens": 8192}])
def test_a_max_length_beyond_the_models_is_the_models_and_noted(
    settings: dict[str, Any], lora_recipe: Recipe, tmp_path: Path
) -> None:
    rows = [{"prompt": f"Is it {n}?", "completion": "Aye, " * 200} for n in range(12)]
    data = write_rows(tmp_path / "long.jsonl", rows)
    recipe = lora_recipe.with_settings({**settings, "data": str(data), "max_length": 4096, "max_steps": 1})
    note = WEIGHTS_READ.format(model=recipe.model)
    inspected = inspect_recipe(recipe)
    assert inspected.notes == (note,)
    assert max(inspected.examples.lengths) == 128
    run = carried_out(recipe, tmp_path / "run")
    begun = run.events[0]
    assert isinstance(begun, Started)
    assert begun.notes == (note,)
    assert len(begun.truncated_rows) == 11
    assert run.recipe.max_length == 128


def test_a_new_model_reads_as_much_as_it_is_given(chat_recipe: Recipe) -> None:
    recipe = chat_recipe.with_settings({"max_length": 1024, "batch_tokens": 1024})
    assert prepare(recipe).recipe.max_length == 1024
