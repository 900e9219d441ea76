"""Sweeps of the learning rate: real trials of very small models, which rows they see, and what is kept of them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from experimenting import record_of, write_experiment
from safetensors.torch import load_file

from ftdemo.data import load_splits
from ftdemo.data.row_hashes import row_hash
from ftdemo.errors import RecipeError, TrainingError, UsageError
from ftdemo.events import Step
from ftdemo.experiments import runner
from ftdemo.experiments.intervals import look_up, summarise
from ftdemo.experiments.spec import Experiment
from ftdemo.experiments.sweep import Trials, _split_rows
from ftdemo.site.experiment_pages import experiment_files

NEW = {"method": "scratch", "model": "new", "width": 64, "layers": 1, "vocabulary": 320, "max_length": 64}
SPEC: dict[str, Any] = {
    "title": "One rate at a time",
    "question": "Which learning rate is best?",
    "recipe": {
        **NEW,
        "data": "handbook",
        "examples": 40,
        "batch_tokens": 256,
        "max_steps": 4,
        "sample_prompts": 2,
        "eval_every": None,
        "packing": False,
    },
    "arms": {"swept": {"rates": [0.0001, 0.01]}, "same": {"rate_of": "swept"}},
    "seeds": [0, 1],
    "sweep": {"extend": 0},
    "numerics": {"threads": 1},
    "charts": [{"id": "rates", "title": "Validation loss", "label": "learning rate", "sweeps": {"new": "swept"}}],
    "quick": {"set": {"max_steps": 2}},
    "claims": [
        {
            "id": "higher",
            "says": "The higher rate is better.",
            "value": "swept:sweep.losses.0.0001",
            "minus": "swept:sweep.losses.0.01",
            "at_least": 0.1,
        }
    ],
}


write_spec = partial(write_experiment, SPEC)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("experiments")
    found = write_spec(folder / "one")
    return found, folder / "runs", record_of(found, folder / "runs")


def test_each_rate_is_tried_once_and_all_runs_of_the_arm_use_the_best(
    swept: tuple[Experiment, Path, dict[str, Any]],
) -> None:
    _, _, record = swept
    sweep = record["runs"]["swept/0"]["sweep"]
    assert list(sweep["losses"]) == ["0.0001", "0.01"]
    assert sweep["best"] == 0.01
    assert sweep["losses"]["0.01"] < sweep["losses"]["0.0001"]
    assert (sweep["train_rows"], sweep["validation_rows"], sweep["seed"]) == (32, 8, 1000)
    assert [run["started"]["lr"] for run in record["runs"].values()] == [0.01] * 4
    assert "sweep" not in record["runs"]["same/0"]
    assert record["seconds"] > sum(run["wall_seconds"] for run in record["runs"].values())


def test_rows_to_validate_by_are_training_rows_and_the_heldout_rows_are_not_among_them(
    swept: tuple[Experiment, Path, dict[str, Any]],
) -> None:
    found, folder, _ = swept
    split = _split_rows(found.spec, "swept", found.spec.recipe_of("swept", 1000, quick=False), folder)
    whole = load_splits("handbook", seed=1000, examples=40)
    train, validation = ({row_hash(row) for row in rows} for rows in (split.train, split.heldout))
    assert train | validation == {row_hash(row) for row in whole.train}
    assert not train & validation
    assert not (train | validation) & {row_hash(row) for row in whole.heldout}


def test_a_sweep_is_one_number_for_claims_and_a_chart_and_a_table_for_readers(
    swept: tuple[Experiment, Path, dict[str, Any]],
) -> None:
    found, _, record = swept
    assert record["claims"][0]["verdict"] == "confirmed"
    assert look_up(record["runs"], "swept:sweep.best") == [0.01]
    assert summarise(record["runs"], "swept:sweep.losses.0.01").statistic == "one run"
    shown = experiment_files(found, record)
    assert "How the learning rates were chosen" in shown["sweeps.html"]
    assert "0.0001: " in shown["sweeps.html"]
    assert "at the end of the range" in shown["sweeps.html"]
    assert "<svg" in shown["rates.html"]
    assert shown["sweeps.html"].strip() in shown["page.md"]


def test_trials_that_are_there_are_not_repeated_and_an_interrupted_sweep_goes_on(
    swept: tuple[Experiment, Path, dict[str, Any]], tmp_path: Path
) -> None:
    found, _, whole = swept
    for progress in runner.run_experiment(found, quick=False, folder=tmp_path):
        assert isinstance(progress, runner.RunProgress)
        if "learning rate 0.01" in progress.run and isinstance(progress.event, Step):
            break  # in the middle of the second rate
    file = tmp_path / "swept-sweep.json"
    assert list(json.loads(file.read_text(encoding="utf-8"))["losses"]) == ["0.0001"]
    names = set()
    for progress in runner.run_experiment(found, quick=False, folder=tmp_path):
        if isinstance(progress, runner.RunProgress):
            names.add(progress.run)
    assert "swept, learning rate 0.0001" not in names
    again = record_of(found, tmp_path)
    assert again["runs"]["swept/0"]["sweep"]["losses"] == whole["runs"]["swept/0"]["sweep"]["losses"]
    assert again["runs"]["swept/1"]["curve"] == whole["runs"]["swept/1"]["curve"]


def test_trials_of_another_form_of_the_experiment_are_refused(
    swept: tuple[Experiment, Path, dict[str, Any]], tmp_path: Path
) -> None:
    _, folder, _ = swept
    other = write_spec(tmp_path / "two", sweep={"extend": 0, "share": 0.5})
    with pytest.raises(UsageError, match="another version of this experiment"):
        record_of(other, folder)


def test_the_quick_form_tries_no_rates_and_uses_the_middle_one(
    swept: tuple[Experiment, Path, dict[str, Any]], tmp_path: Path
) -> None:
    record = record_of(swept[0], tmp_path, quick=True)
    assert {run["started"]["lr"] for run in record["runs"].values()} == {0.01}
    assert not any("sweep" in run for run in record["runs"].values())


# Which rate comes next


def tried(**losses: float | None) -> Trials:
    return Trials({float(rate.removeprefix("r").replace("_", ".")): loss for rate, loss in losses.items()})


GRID = (0.001, 0.003, 0.01)


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        (tried(), 0.001),
        (tried(r0_001=2.0), 0.003),
        (tried(r0_001=2.0, r0_003=1.0, r0_01=3.0), None),  # the best is between two others
        (tried(r0_001=3.0, r0_003=2.0, r0_01=1.0), 0.03),
        (tried(r0_001=3.0, r0_003=2.0, r0_01=1.0, r0_03=0.5), 0.1),
        (tried(r0_001=3.0, r0_003=2.0, r0_01=1.0, r0_03=1.5), None),
        (tried(r0_001=1.0, r0_003=2.0, r0_01=None), 0.0003),  # a rate at which training diverged is none to choose
        (tried(r0_001=3.0, r0_003=2.0, r0_01=1.0, r0_03=0.5, r0_1=0.3), None),  # two are the most here
    ],
)
def test_rates_are_added_at_the_end_where_the_best_is(trials: Trials, expected: float | None) -> None:
    assert trials.next_rate(GRID, extend=2) == expected


def test_a_sweep_that_diverges_everywhere_is_an_error() -> None:
    with pytest.raises(TrainingError, match="diverged at every learning rate"):
        _ = tried(r0_1=None, r1=None).best


# Probe first, then fine-tune

STARTS = ("probe-0", "tuned-sweep-start")


def test_fine_tuning_starts_from_the_trained_head_of_a_probe_and_its_sweep_from_one_that_knows_no_validation_rows(
    tmp_path: Path,
) -> None:
    common = {"data": "routing", "model": "nano", "batch_tokens": 1024, "max_steps": 3, "eval_every": None}
    arms = {
        "probe": {"set": {"method": "probe", "lr": 0.05}, "rows": {"per_label": 3}},
        "tuned": {"set": {"method": "classify"}, "rows": {"per_label": 3}, "start": "probe", "rates": [1e-6, 1e-5]},
    }
    changes = {"recipe": common, "arms": arms, "claims": [], "charts": [], "quick": None, "seeds": [0]}
    record = record_of(write_spec(tmp_path / "one", **changes), tmp_path / "runs")
    probe, tuned = (record["runs"][f"{arm}/0"] for arm in ("probe", "tuned"))
    assert tuned["heldout_loss"]["before"] == pytest.approx(probe["heldout_loss"]["after"], abs=1e-4)
    assert tuned["scores"]["before"] == probe["scores"]["after"]
    assert tuned["started"]["trainable_parameters"] > 100 * probe["started"]["trainable_parameters"]
    assert (tuned["sweep"]["train_rows"], tuned["sweep"]["validation_rows"]) == (19, 5)
    heads = [load_file(tmp_path / "runs" / name / "model.safetensors")["score.weight"] for name in STARTS]
    assert heads[0].shape == heads[1].shape
    assert not torch.equal(*heads)
    assert tuned["confusion"]["labels"] == sorted(tuned["confusion"]["labels"])
    assert sum(map(sum, tuned["confusion"]["counts"])) == 160


def test_an_arm_with_too_few_rows_for_a_validation_split_is_named(tmp_path: Path) -> None:
    recipe = {"method": "probe", "data": "routing", "model": "nano", "max_steps": 1, "eval_every": None}
    arms = {"eight": {"rows": {"per_label": 1}, "rates": [0.01, 0.1]}}
    found = write_spec(tmp_path / "one", recipe=recipe, arms=arms, claims=[], charts=[], quick=None)
    with pytest.raises(RecipeError, match=r"(?s)The arm `eight` cannot have a sweep.*can be put aside"):
        record_of(found, tmp_path / "runs")


# What needs no network


def test_word_counts_are_an_arm_that_is_scored_like_the_classifiers(tmp_path: Path) -> None:
    recipe = {"method": "probe", "data": "routing", "model": "nano", "max_steps": 2, "lr": 0.05, "eval_every": None}
    arms = {"words": {"baseline": "tfidf", "rows": {"per_label": 8}}, "probe": {"rows": {"per_label": 8}}}
    chart = {"id": "right", "title": "Right", "y": "scores.after.accuracy"}
    claim = {"id": "words", "says": "Words do.", "value": "words:scores.after.accuracy", "at_least": 0.125}
    pair = {**claim, "id": "pair", "minus": "probe:scores.after.accuracy"}
    changes = {"recipe": recipe, "arms": arms, "claims": [claim, pair], "charts": [chart], "seeds": [0, 1]}
    found = write_spec(tmp_path / "one", **changes, quick=None)
    record = record_of(found, tmp_path / "runs")
    words, probe = (record["runs"][f"{arm}/0"] for arm in ("words", "probe"))
    assert set(words["scores"]["after"]) == set(probe["scores"]["after"]) == {"accuracy", "macro_f1"}
    for path in ("scores.after.accuracy", "heldout_loss.after"):
        assert words["outcomes"][path]["on"] == probe["outcomes"][path]["on"]
    assert [claim["statistic"] for claim in record["claims"]] == ["two seeds and 160 questions resampled"] * 2
    right = sum(words["confusion"]["counts"][place][place] for place in range(8))
    assert right / 160 == pytest.approx(words["scores"]["after"]["accuracy"], abs=1e-4)
    shown = experiment_files(found, record)
    assert "words" in shown["arms.md"]
    assert "words" in shown["right.html"]
