"""The rows of the catalogue, held against the models they name, and where a learning rate comes from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ftdemo.estimate.parameters import parameter_counts
from ftdemo.methods import METHODS
from ftdemo.models import load
from ftdemo.models.catalog import CATALOG, known_learning_rate, usual_learning_rate
from ftdemo.recipe import Recipe
from ftdemo.training.prepare import prepare

HIGHEST_USUAL = 2e-4
"""What Unsloth's guide and others begin with from one billion parameters on."""


@pytest.mark.parametrize("name", ["tiny", "nano", "smollm2"])
def test_a_row_has_its_models_size(name: str) -> None:
    assert CATALOG[name].parameters == parameter_counts(load.configuration(name), method="full").total


def test_every_row_but_that_of_a_new_model_can_be_found() -> None:
    assert set(load.available()) == {model.name for model in CATALOG.values() if model.source in ("bundled", "package")}


@pytest.mark.parametrize("parameters", [1_235_814_400, 8_030_261_248, 70_553_706_496])
def test_a_large_model_begins_at_a_usual_rate_and_never_at_ours(parameters: int) -> None:
    low_rank = usual_learning_rate(parameters, "lora", 1.0)
    full = usual_learning_rate(parameters, "full", 1.0)
    assert 1e-4 <= low_rank.value <= HIGHEST_USUAL
    assert full.value == pytest.approx(low_rank.value / 10)
    assert "billion parameters" in low_rank.reason


def test_the_usual_rate_falls_with_the_models_size() -> None:
    rates = [usual_learning_rate(size, "lora", 1.0).value for size in (10**6, 10**8, 10**9, 10**11)]
    assert rates == sorted(rates, reverse=True)


def test_a_known_model_keeps_the_rate_of_our_own_runs() -> None:
    assert Recipe(model="smollm2").lr == 4e-3
    known = known_learning_rate("smollm2", "lora", 1.0)
    assert known is not None
    assert "smollm2" in known.reason
    assert known_learning_rate("owner/name", "lora", 1.0) is None


def test_a_model_of_the_catalogue_without_runs_of_ours_begins_at_the_rate_of_its_size() -> None:
    recipe = Recipe(model="HuggingFaceTB/SmolLM2-1.7B-Instruct")
    assert recipe.lr == usual_learning_rate(1_711_376_384, "lora", 1.0).value == HIGHEST_USUAL


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_model_that_we_never_ran_is_trained_at_the_rate_of_its_size(method: str, tmp_path: Path) -> None:
    folder = shutil.copytree(load.bundled_folder("nano"), tmp_path / "mine")
    recipe = Recipe(method=method, model=str(folder), data="short-tickets", examples=4, dtype="float32")
    learner = prepare(recipe)
    usual = usual_learning_rate(CATALOG["nano"].parameters, METHODS[method].rate_family, 1.0)
    assert recipe.lr is None
    assert learner.recipe.peak_lr == usual.value
    assert learner.reasons["lr"] == usual.reason == "the usual starting point for a model of 1.07 million parameters"
    set_by_hand = prepare(recipe.with_settings({"lr": 1e-5}))
    assert (set_by_hand.recipe.lr, set_by_hand.reasons["lr"]) == (1e-5, "set in the recipe")
