"""What `python -m benchmarks` reports: the same work for every contender, counted alike."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from benchmarks import WORKS, meter, ours, peers, time_contenders
from benchmarks.__main__ import main
from benchmarks.works import Work
from ftdemo.errors import TrainingError
from ftdemo.training.prepare import prepare

TINY: dict[str, Any] = {"examples": 24, "width": 64, "vocabulary": 512, "max_length": 64, "batch_tokens": 512}
SAME = 0.02
"""The part by which the contenders' mean losses may differ, for their speeds to be compared at all."""


def small(name: str) -> Work:
    """The named work, made small and carried out in float32."""
    work = WORKS[name]
    return replace(work, recipe=work.recipe.with_settings(TINY | {"dtype": "float32", "eval_every": 1}))


@pytest.mark.slow
def test_trainer_takes_the_same_batches_and_learns_the_same() -> None:
    work = small("pretrain-1m")
    us, them = ours.train(work), peers.trainer(work)
    assert us["loss"] == pytest.approx(them["loss"], rel=SAME)
    assert us.keys() == them.keys()
    assert us["tokens_per_second"] * us["seconds"] == pytest.approx(them["tokens_per_second"] * them["seconds"])


def test_the_time_to_a_loss_is_taken_when_it_is_first_reached_and_is_absent_where_it_never_is() -> None:
    work = small("pretrain-1m")
    reached = ours.train(replace(work, target_loss=100.0))
    assert 0 < reached["seconds_to_loss"] < reached["seconds"]
    assert "seconds_to_loss" not in ours.train(replace(work, target_loss=0.0))


def test_operations_are_those_of_the_mathematics() -> None:
    learner = prepare(small("pretrain-1m").recipe)
    model = learner.model
    head = model.get_output_embeddings()
    matrices = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear) and layer is not head]
    each = sum(layer.weight.numel() for layer in matrices)
    # Forward, gradient of the input, gradient of the weight: 2 operations each, a weight and token.
    assert meter._operations(model, [(100, 40)]) == 6 * (each * 100 + head.weight.numel() * 40)
    for layer in matrices:
        layer.weight.requires_grad_(False)
    assert meter._operations(model, [(60, 30), (40, 10)]) == 4 * each * 100 + 6 * head.weight.numel() * 40


def test_figures_are_medians_of_alternating_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, rates = [], iter([5.0, 10.0, 1.0, 30.0, 3.0, 20.0])

    def run(work: str, name: str) -> dict[str, float]:
        asked.append(name)
        return {"tokens_per_second": next(rates)} | ({"seconds_to_loss": 1.0} if len(asked) == 1 else {})

    monkeypatch.setattr(sys.modules[time_contenders.__module__], "_in_own_process", run)
    figures = time_contenders("generate", 3, lambda _: None)
    assert asked == ["ftdemo", "one generate call a prompt"] * 3
    assert [row["tokens_per_second"] for row in figures.values()] == [3.0, 20.0]
    assert "seconds_to_loss" not in figures["ftdemo"]  # not every run reached it


def test_a_contender_that_fails_is_named_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "false")
    with pytest.raises(TrainingError, match=r"The contender ftdemo failed: it said nothing"):
        time_contenders("lora", 1, lambda _: None, only=("ftdemo",))


def test_the_command_measures_in_a_process_of_its_own() -> None:
    done = CliRunner().invoke(main, ["growth", "--only", "10,000 rows", "--runs", "1", "--json"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)["growth"]["10,000 rows"]
    assert figures["seconds_to_read"] > 0
    assert figures["memory_bytes"] > 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tea"], "Error: There is no work called tea.\nTime one of: lora, full, pretrain-1m"),
        (["pretrain", "--only", "nobody"], "Error: No contender called nobody.\nThere are: ftdemo, "),
    ],
)
def test_what_is_not_there_to_time_is_refused(arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert says in done.stderr
