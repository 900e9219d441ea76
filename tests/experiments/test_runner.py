"""Experiments carried out: real runs of a very small model, what their record keeps, and what the shell says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from experimenting import record_of, write_experiment

from ftdemo.cli.main import main
from ftdemo.comparison import approaches
from ftdemo.errors import UsageError
from ftdemo.evaluation.outcomes import Outcomes
from ftdemo.experiments import runner
from ftdemo.experiments import spec as experiment
from ftdemo.experiments.check import Repetition, compare_records
from ftdemo.experiments.intervals import look_up, summarise
from ftdemo.experiments.spec import Experiment
from ftdemo.runs.run import Run
from ftdemo.site.experiment_pages import experiment_files

NEW = {"method": "scratch", "model": "new", "width": 64, "layers": 1, "vocabulary": 320, "max_length": 256}
SPEC: dict[str, Any] = {
    "title": "One step at a time",
    "question": "Does a later base still take an adapter?",
    "recipe": {
        "examples": 30,
        "batch_tokens": 256,
        "max_steps": 4,
        "lr": 0.01,
        "dtype": "float32",
        "sample_prompts": 2,
        "sample_every": 2,
        "eval_every": 2,
        "packing": False,
    },
    "arms": {
        "base": {"set": {**NEW, "data": "high-street"}},
        "later": {"set": {"method": "full", "data": "high-street"}, "start": "base"},
        "adapter": {"set": {"method": "lora", "data": "high-street-requests", "rank": 4}, "start": "base"},
        "moved": {"adapter": "adapter", "start": "later"},
        "noisy": {
            "set": {"method": "lora", "data": "high-street-requests", "rank": 4},
            "start": "base",
            "rows": {"mislabel": 0.5, "repeat": 2},
        },
    },
    "seeds": [0],
    "measure": ["old_skill", "spectrum"],
    "shown": "adapter",
    "quick": {"set": {"max_steps": 2}, "arms": ["base"]},
    "claims": [
        {"id": "falls", "says": "It falls.", "value": "base:heldout_loss.after", "at_most": 5.7, "quick": True},
        {
            "id": "small",
            "says": "It is small.",
            "value": "adapter:saved_bytes",
            "over": "base:saved_bytes",
            "at_most": 1,
        },
    ],
}


write_spec = partial(write_experiment, SPEC)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("experiments")
    record: dict[str, Any] = record_of(write_spec(folder / "one"), folder / "runs")
    return record


def test_every_arm_is_carried_out_once_a_seed(recorded: dict[str, Any]) -> None:
    assert list(recorded["runs"]) == [f"{arm}/0" for arm in SPEC["arms"]]
    assert recorded["quick"] is False
    assert {"versions", "hardware", "created", "seconds"} <= set(recorded)


def test_a_run_keeps_its_curve_its_scores_and_what_it_cost(recorded: dict[str, Any]) -> None:
    run = recorded["runs"]["adapter/0"]
    assert [step for step, _ in run["curve"]] == [1, 2, 3, 4]
    assert [step for step, _ in run["heldout"]] == [0, 2, 4]
    assert set(run["scores"]["after"]) == {"stopped", "exact_match"}
    assert run["steps"] == 4
    assert 0 < run["saved_bytes"] < recorded["runs"]["base/0"]["saved_bytes"]
    assert run["peak_memory_bytes"] > 2**27


def test_the_shown_run_keeps_its_answers_each_time_they_were_given(recorded: dict[str, Any]) -> None:
    shown = recorded["runs"]["adapter/0"]["samples"]
    assert [sample["step"] for sample in shown] == [0, 2, 4]
    assert shown[0]["answers"][0]["prompt"].endswith(
        ("What is the order number?", "What does the customer want?", "Write the order number as JSON.")
    )
    assert [key for key, run in recorded["runs"].items() if "samples" in run] == ["adapter/0"]


def test_an_arm_starts_from_the_model_of_another(recorded: dict[str, Any]) -> None:
    base, later = recorded["runs"]["base/0"], recorded["runs"]["later/0"]
    # the same texts, in longer pieces; a new model has a loss of ln(320), 5.77
    assert later["heldout_loss"]["before"] == pytest.approx(base["heldout_loss"]["after"], rel=0.01)


def test_an_adapter_is_judged_on_another_base_than_its_own(recorded: dict[str, Any]) -> None:
    assert set(recorded["runs"]["moved/0"]["scores"]) == {"before", "after"}


def test_changed_rows_are_trained_on_and_the_heldout_ones_are_not_changed(recorded: dict[str, Any]) -> None:
    noisy, clean = recorded["runs"]["noisy/0"], recorded["runs"]["adapter/0"]
    assert noisy["started"]["examples"] == 2 * clean["started"]["examples"]
    assert noisy["heldout_loss"]["before"] == clean["heldout_loss"]["before"]


def test_the_old_skill_of_a_model_of_ours_is_measured_by_its_own_corpus(recorded: dict[str, Any]) -> None:
    skill = recorded["runs"]["adapter/0"]["old_skill"]
    base = recorded["runs"]["base/0"]["heldout_loss"]["after"]
    # the adapter is trained in chats; the old skill is the loss on the corpus's held-out texts
    assert skill["before"]["loss"] == pytest.approx(base, rel=0.02)
    assert skill["loss_factor"] == pytest.approx(skill["after"]["loss"] / skill["before"]["loss"], rel=1e-3)


def test_the_spectrum_of_a_low_rank_update_ends_at_its_rank(recorded: dict[str, Any]) -> None:
    shares = recorded["runs"]["adapter/0"]["spectrum"]["matrices"]["q_proj"]["share_at_rank"]
    assert shares["4"] == pytest.approx(1, abs=1e-4)
    assert shares["1"] < 1
    full = recorded["runs"]["later/0"]["spectrum"]["matrices"]["q_proj"]["share_at_rank"]
    assert full["4"] < 0.999


def test_claims_are_decided_and_recorded_with_what_decided_them(recorded: dict[str, Any]) -> None:
    (small,) = recorded["claims"]  # the other is of the quick form
    sizes = [recorded["runs"][f"{arm}/0"]["saved_bytes"] for arm in ("adapter", "base")]
    assert small["value"] == pytest.approx(sizes[0] / sizes[1], rel=1e-4)
    assert small["verdict"] == "confirmed"


def test_each_question_is_recorded_and_the_questions_add_up_to_the_number(recorded: dict[str, Any]) -> None:
    for key, run in recorded["runs"].items():
        paths = set(run["outcomes"])
        assert "scores.after.stopped" in paths or key in ("base/0", "later/0")
        for path in paths:
            outcomes = Outcomes.read(run["outcomes"][path])
            total = sum(outcomes.weights) or len(outcomes.values)
            (number_,) = look_up({key: run}, f"{run['arm']}:{path}")
            assert sum(outcomes.values) / total == pytest.approx(number_, rel=0.005)
    moved, adapter = recorded["runs"]["moved/0"], recorded["runs"]["adapter/0"]
    assert moved["outcomes"]["scores.after.exact_match"]["on"] == adapter["outcomes"]["scores.after.exact_match"]["on"]


def test_runs_that_are_there_are_not_done_again_and_one_that_was_broken_off_goes_on(tmp_path: Path) -> None:
    arms = {name: SPEC["arms"][name] for name in ("base", "later")}
    found = write_spec(tmp_path / "one", arms=arms, shown=None, claims=[], quick=None, measure=[])
    whole = record_of(found, tmp_path / "whole")
    for progress in runner.run_experiment(found, quick=False, folder=tmp_path / "runs"):
        assert isinstance(progress, runner.RunProgress)
        if progress.run == "later/0" and getattr(progress.event, "step", 0) == 3:
            break  # in the middle of the second arm
    base = tmp_path / "runs" / "base-0" / "model.safetensors"
    written = base.stat().st_mtime_ns
    again = record_of(found, tmp_path / "runs")
    assert base.stat().st_mtime_ns == written
    for key in ("base/0", "later/0"):
        assert again["runs"][key]["curve"] == whole["runs"][key]["curve"]
        assert again["runs"][key]["scores"] == whole["runs"][key]["scores"]


def test_runs_of_another_form_of_the_experiment_are_refused(tmp_path: Path) -> None:
    arms = {"base": SPEC["arms"]["base"]}
    changes: dict[str, Any] = {"arms": arms, "shown": None, "claims": [], "quick": None, "measure": []}
    record_of(write_spec(tmp_path / "one", **changes), tmp_path / "runs")
    other = write_spec(tmp_path / "two", **changes, recipe={**SPEC["recipe"], "lr": 0.02})
    with pytest.raises(UsageError, match="another version of this experiment"):
        record_of(other, tmp_path / "runs")


def test_a_record_that_is_too_large_for_a_page_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the record has 390 kB, but the limit is 300 kB"):
        runner.write_record({"runs": "x" * 400_000}, tmp_path / "record.json")


def test_a_record_says_what_was_fixed_for_its_runs(recorded: dict[str, Any]) -> None:
    assert recorded["numerics"]["threads"] == 2
    started = [run["started"] for run in recorded["runs"].values() if "started" in run]
    assert {(each["device"], each["dtype"], each["attention"]) for each in started} == {("cpu", "float32", "ftdemo")}


def test_old_skill_is_a_number_with_an_interval_over_its_questions(recorded: dict[str, Any]) -> None:
    path = "old_skill.after.accuracy"
    found = summarise(recorded["runs"], f"adapter:{path}", minus="adapter:old_skill.before.accuracy")
    assert found.statistic.endswith("questions resampled")
    assert found.low <= found.value <= found.high


def test_a_pre_trained_model_is_asked_once_before_training(recorded: dict[str, Any], tmp_path: Path) -> None:
    arms = {f"rank {rank}": {"set": {"method": "lora", "model": "nano", "rank": rank}} for rank in (1, 2)}
    recipe = {**SPEC["recipe"], "data": "handbook", "sample_every": None, "max_steps": 1}
    changes: dict[str, Any] = {
        "recipe": recipe,
        "arms": arms,
        "shown": "rank 2",
        "claims": [],
        "quick": None,
        "measure": [],
    }
    record = record_of(write_spec(tmp_path / "one", **changes), tmp_path / "runs")
    both = [Run.load(tmp_path / "runs" / f"{arm}-0").samples() for arm in arms]
    assert both[0][0] is not None
    assert both[0][0] == both[1][0]  # the seconds that it took, too
    assert record["runs"]["rank 1/0"]["heldout_loss"]["before"] == record["runs"]["rank 2/0"]["heldout_loss"]["before"]
    assert record["runs"]["rank 2/0"]["samples"][0]["step"] == 0


# In the shell


def invoke(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["record", "--folder", str(folder), *arguments])


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("quick")
    write_spec(folder / "one")
    return folder, invoke(folder, "one", "--quick")


def test_the_quick_form_is_written_beside_the_record_and_its_claims_are_told(quick: tuple[Path, Result]) -> None:
    folder, result = quick
    assert result.exit_code == 0, result.output
    written = json.loads((folder / "one" / experiment.QUICK).read_text(encoding="utf-8"))
    assert list(written["runs"]) == ["base/0"]
    assert written["runs"]["base/0"]["steps"] == 2
    assert not (folder / "one" / experiment.RECORD).exists()
    assert "It falls." in result.output
    assert "questions resampled, at most 5.7" in result.output


def test_a_check_passes_while_the_claims_come_out_as_recorded(quick: tuple[Path, Result]) -> None:
    folder, _ = quick
    result = invoke(folder, "one", "--check")
    assert result.exit_code == 0, result.output


def test_a_check_says_how_far_apart_the_losses_are_and_what_it_allows(quick: tuple[Path, Result]) -> None:
    folder, _ = quick
    result = invoke(folder, "one", "--check")
    assert "one: 1 verdicts and 2 held-out losses compared." in result.output
    assert "Largest difference of a loss: 0.00% (tolerance 1%)." in result.output
    written = json.loads((folder / "one" / experiment.QUICK).read_text(encoding="utf-8"))
    assert written["tolerance"] == 0.01
    assert written["numerics"] == {"device": "cpu", "dtype": "float32", "attention": "ftdemo", "threads": 2}


def test_a_loss_that_is_further_away_than_allowed_is_a_difference_and_so_are_other_numerics() -> None:
    runs = {"a/0": {"arm": "a", "heldout_loss": {"after": 2.0}}, "b/0": {"arm": "b"}}
    record: dict[str, Any] = {"runs": runs, "claims": [], "numerics": {"dtype": "float32"}}
    assert compare_records(record, record) == Repetition((), 1, 0.0)
    older = {"runs": runs, "claims": []}
    assert compare_records(older, record) == Repetition((), 0, 0.0)
    near = {**record, "runs": {"a/0": {"arm": "a", "heldout_loss": {"after": 2.01}}}}
    assert not compare_records(record, near).problems
    far = {**record, "runs": {"a/0": {"arm": "a", "heldout_loss": {"after": 2.1}}}, "numerics": {"dtype": "bfloat16"}}
    numerics, loss = compare_records(record, far).problems
    assert loss == "the held-out loss of a/0 after training was 2, now it is 2.1, which is more than 1% away."
    assert "recorded with dtype float32, and now runs with dtype bfloat16" in numerics


def test_a_check_names_the_claim_that_no_longer_comes_out_as_recorded(
    quick: tuple[Path, Result], tmp_path: Path
) -> None:
    written = json.loads((quick[0] / "one" / experiment.QUICK).read_text(encoding="utf-8"))
    verdict = written["claims"][0]["verdict"]
    written["claims"][0]["verdict"] = "does not hold" if verdict == "confirmed" else "holds"
    found = write_spec(tmp_path / "one")
    (found.folder / experiment.QUICK).write_text(json.dumps(written), encoding="utf-8")
    result = invoke(tmp_path, "one", "--check")
    assert result.exit_code == 1
    assert 'one: "It falls."' in result.output
    assert f"now it is {verdict}" in result.output


def test_a_check_without_a_record_says_how_to_make_one(tmp_path: Path) -> None:
    write_spec(tmp_path / "one")
    result = invoke(tmp_path, "--all", "--check")
    assert result.exit_code == 1
    assert "ftdemo record one --quick" in result.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "No experiment is given."), (["two"], "There is no experiment two")],
)
def test_a_request_that_cannot_be_met_is_refused(arguments: list[str], said: str, tmp_path: Path) -> None:
    write_spec(tmp_path / "one")
    result = invoke(tmp_path, *arguments)
    assert result.exit_code == 2
    assert said in result.output


# Approaches compared


@pytest.fixture(scope="module", autouse=True)
def small_task(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A task whose prompts with examples fit into the small model's context window; those of tickets do not."""
    folder = tmp_path_factory.mktemp("form")
    for name, first in (("train", 0), ("heldout", 20)):
        rows = [
            {"prompt": f"Order {n} is late.", "completion": json.dumps({"order": n})} for n in range(first, first + 20)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = approaches.load_task(folder, instruction="Answer with one JSON object.")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(approaches, "tasks", lambda: {"tickets": replace(task, name="tickets")})
        yield


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Experiment, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("experiments")
    form = {"compare": "tickets", "questions": 4, "set": {"max_steps": 2, "answer_tokens": 8, "dtype": "float32"}}
    found = Experiment(folder / "ways")
    found.folder.mkdir()
    spec = {
        "title": "Which way",
        "question": "How is an order best asked for?",
        "recipe": {"method": "lora", "model": "tiny"},
        "arms": {"form": form},
        "seeds": [0, 1],
        "charts": [{"id": "quality", "title": "Right", "points": {"told": "form:ways.zero-shot.quality"}}],
        "claims": [
            {
                "id": "tokens",
                "says": "Examples are read each time.",
                "value": "form:ways.few-shot.prompt_tokens",
                "over": "form:ways.fine-tuning.prompt_tokens",
                "at_least": 2,
            }
        ],
    }
    (found.folder / experiment.SPEC).write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")
    return found, record_of(found, folder / "runs")


def test_an_arm_may_compare_approaches_and_claims_and_pictures_read_their_numbers(
    compared: tuple[Experiment, dict[str, Any]],
) -> None:
    found, recorded = compared
    assert list(recorded["runs"]) == ["form/0", "form/1"]
    ways = recorded["runs"]["form/0"]["ways"]
    assert list(ways) == ["zero-shot", "few-shot", "rag", "fine-tuning", "fine-tuning+rag"]
    assert ways["rag"]["quality"]["rows"] == 4
    assert recorded["claims"][0]["verdict"] == "confirmed"
    shown = experiment_files(found, recorded)
    assert "fine-tuning+rag" in shown["form.md"]
    assert "valid json" in shown["form.md"]
    assert "told" in shown["quality.html"]


def test_one_that_was_broken_off_begins_anew(compared: tuple[Experiment, dict[str, Any]], tmp_path: Path) -> None:
    found, recorded = compared
    (tmp_path / "form-0").mkdir()
    again = record_of(found, tmp_path)
    ways = [run["runs"]["form/0"]["ways"]["few-shot"]["quality"] for run in (recorded, again)]
    assert ways[0] == ways[1]
