"""Runs with planted faults, carried out in a short form: a few steps of the smallest model."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from served import ROOT

from ftdemo.experiments.fault_runs import carry_out, compare_fault_records, hidden_symptoms, run_fault_cases
from ftdemo.experiments.fault_spec import CASES, FaultCases
from ftdemo.experiments.runner import RunProgress

SHORT = {"model": "nano", "max_steps": 2, "epochs": 1, "sample_prompts": 2, "answer_tokens": 2, "eval_every": None}


def short_form(folder: Path, *ids: str, **changes: Any) -> FaultCases:
    """The collection with a few of its cases, each two steps long."""
    values = yaml.safe_load((ROOT / "docs" / "experiments" / "find-the-fault" / CASES).read_text(encoding="utf-8"))
    values["cases"] = [case for case in values["cases"] if case["id"] in ids]
    for case in values["cases"]:
        case["set"] = {key: value for key, value in case.get("set", {}).items() if key not in ("epochs", "examples")}
    values["recipe"] |= SHORT | changes
    values["numerics"] = {"threads": 1}
    folder.mkdir(exist_ok=True)
    (folder / CASES).write_text(yaml.safe_dump(values), encoding="utf-8")
    return FaultCases(folder)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[FaultCases, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("faults")
    found = short_form(folder / "short", "duplicates")
    *_, record = run_fault_cases(found, folder / "runs")
    assert isinstance(record, dict)
    return found, folder / "runs", record


def test_a_record_has_the_evidence_and_what_the_command_told(
    recorded: tuple[FaultCases, Path, dict[str, Any]],
) -> None:
    run = recorded[2]["runs"]["duplicates"]
    assert run["numbers"]["examples"] == 240
    assert run["numbers"]["changed"] > 0
    assert run["heldout"][0][0] == 0
    assert run["heldout"][-1][0] == run["curve"][-1][0] == 2
    assert "the same as an earlier one" in run["told"][0]
    assert len(run["excerpt"]["train"]) == 5
    assert [sample["where"] for sample in run["samples"]] == ["held-out"] * 3


def test_symptoms_that_do_not_show_are_named(recorded: tuple[FaultCases, Path, dict[str, Any]]) -> None:
    assert hidden_symptoms(recorded[2])[0].startswith("duplicates: loss_last / heldout_after <= 0.4 does not hold")


def test_a_run_that_was_carried_out_is_not_repeated(recorded: tuple[FaultCases, Path, dict[str, Any]]) -> None:
    found, folder, record = recorded
    again = [event for event in run_fault_cases(found, folder) if not isinstance(event, RunProgress)]
    assert [each["runs"] for each in again] == [record["runs"]]


def test_a_repetition_is_compared_with_its_record(recorded: tuple[FaultCases, Path, dict[str, Any]]) -> None:
    found, _, record = recorded
    other = json.loads(json.dumps(record))
    other["runs"]["duplicates"]["numbers"]["heldout_after"] *= 1.5
    for run in (*record["runs"].values(), *other["runs"].values()):
        run["symptoms"] = []
    assert not compare_fault_records(found.spec, record, record).problems
    assert compare_fault_records(found.spec, record, other).problems[0].startswith("duplicates: the held-out loss was")


def test_weights_stored_in_bfloat16_lose_small_updates_and_those_in_float32_do_not(tmp_path: Path) -> None:
    found = short_form(tmp_path / "short", "bfloat16")
    *_, run = carry_out(found.spec, found.spec.cases[0], tmp_path / "run")
    assert isinstance(run, dict)
    assert 0 < run["numbers"]["changed"] < 0.8
    assert run["numbers"]["fixed_heldout_after"] < run["numbers"]["heldout_after"]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["mask", "stop", "column", "template", "cut", "base", "leak", "overfitting"])
def test_the_command_of_a_case_tells_of_its_fault(tmp_path: Path, case: str) -> None:
    found = short_form(tmp_path / "short", case)
    run = found.spec.cases[0].model_copy(update={"base": "harbour-nano"} if case == "base" else {})
    *_, record = carry_out(found.spec, run, tmp_path / "run")
    assert isinstance(record, dict)
    assert record["told"]
