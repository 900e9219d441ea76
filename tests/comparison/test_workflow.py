"""From a file to a release: each step does what it says, once, and again where something has changed."""

from __future__ import annotations

import json
import shlex
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ftdemo.cli.main import main
from ftdemo.comparison import ab_test
from ftdemo.comparison.workflow import STEPS, Done, WorkflowPlan, run_workflow
from ftdemo.data import read_rows
from ftdemo.data.split import near_duplicate_key
from ftdemo.errors import RecipeError, StorageError, UsageError
from ftdemo.events import Answer, Step

GOODS = ("lamp", "rug", "stove", "vase", "mop", "mug", "frame", "bell", "shelf", "knife", "kettle", "bucket")
TRAIN = {"model": "tiny", "max_steps": 30, "epochs": 50, "lr": 0.01, "answer_tokens": 16, "dtype": "float32"}


def write_plan(folder: Path, **changes: Any) -> Path:
    """A plan with some rows, one of them broken, and a benchmark with checkers."""
    rows: list[dict[str, Any]] = [
        {"question": f"Where is my {good}, {who}?", "reply": f"Your {good} comes by van, madam."}
        for good in GOODS
        for who in ("please", "at last")
    ]
    lines = [json.dumps(row) for row in rows] + ['{"question": "Hm?"}']
    (folder / "letters.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    asked = [
        {"prompt": f"Where is my {good}?", "completion": "By van.", "constraints": {"contains": ["by van"]}}
        for good in GOODS[:6]
    ]
    (folder / "benchmark.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked), encoding="utf-8")
    plan = {
        "data": "letters.jsonl",
        "benchmark": "benchmark.jsonl",
        "columns": {"prompt": "question", "completion": "reply"},
        "train": TRAIN,
        "purpose": "Letters of one shop.",
        **changes,
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    return path


def done(plan: Path, **settings: Any) -> dict[str, Done]:
    found = [event for event in run_workflow(WorkflowPlan.from_yaml(plan), **settings) if isinstance(event, Done)]
    return {each.step: each for each in found}


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Done]]:
    plan = write_plan(tmp_path_factory.mktemp("a plan"))
    return plan, done(plan)


def test_all_steps_are_done_in_order_and_leave_a_release(carried_out: tuple[Path, dict[str, Done]]) -> None:
    plan, steps = carried_out
    assert tuple(steps) == STEPS
    assert all(step.again for step in steps.values())
    release = plan.parent / "workflow" / "release"
    assert sorted(path.name for path in release.iterdir()) == ["data-card.md", "decision.md", "evaluation.md", "model"]
    card = (release / "model" / "README.md").read_text(encoding="utf-8")
    assert "Letters of one shop." in card
    assert "old skill: loss" in (release / "evaluation.md").read_text(encoding="utf-8")
    assert "25 examples, 1 of them left out" in (release / "data-card.md").read_text(encoding="utf-8")


def test_the_bad_row_is_left_out_and_near_twins_stay_on_one_side(carried_out: tuple[Path, dict[str, Done]]) -> None:
    plan, steps = carried_out
    assert steps["check"].result["left_out"] == 1
    data = plan.parent / "workflow" / "data"
    train, heldout = (read_rows(data / f"{name}.jsonl") for name in ("train", "heldout"))
    assert len(train) + len(heldout) == 24
    assert {near_duplicate_key(str(row)) for row in heldout}.isdisjoint(near_duplicate_key(str(row)) for row in train)


def test_the_tuned_model_wins_the_blinded_test_by_its_checkers(carried_out: tuple[Path, dict[str, Done]]) -> None:
    plan, steps = carried_out
    result = steps["ab"].result
    assert (result["pairs"], result["losses"]) == (6, 0)
    assert result["wins"] >= 5
    assert steps["release"].result["decision"].startswith("Release.")
    shown = ab_test.read_pairs(plan.parent / "workflow")
    assert set(shown[0]) == {"number", "prompt", "a", "b"}
    tuned = json.loads((plan.parent / "workflow" / ab_test.ANSWERS).read_text(encoding="utf-8"))["pairs"]
    assert {pair["tuned"] for pair in tuned} == {"a", "b"}


def test_what_has_not_changed_is_not_done_again_and_what_has_is(carried_out: tuple[Path, dict[str, Done]]) -> None:
    plan, first = carried_out
    assert not any(step.again for step in done(plan).values())
    text = plan.read_text(encoding="utf-8")
    plan.write_text(text.replace("Letters of one shop.", "Letters."), encoding="utf-8")
    again = done(plan)
    assert [step for step, each in again.items() if each.again] == ["release"]
    assert again["ab"].result == first["ab"].result
    assert [step for step, each in done(plan, only="ab", again=True).items() if each.again] == ["ab"]


def test_a_step_alone_needs_those_before_it(tmp_path: Path) -> None:
    plan = write_plan(tmp_path)
    with pytest.raises(UsageError, match="The step train needs the step check"):
        done(plan, only="train")
    assert list(done(plan, only="check")) == ["check"]
    assert list(done(plan, only="split")) == ["split"]


@pytest.mark.parametrize("settings", [{}, {"max_length": 4096, "dtype": "auto"}], ids=["as it is", "run decides"])
def test_a_training_run_that_was_stopped_is_resumed(tmp_path: Path, settings: dict[str, Any]) -> None:
    plan, stop, steps = write_plan(tmp_path, train=TRAIN | settings), threading.Event(), []
    for event in run_workflow(WorkflowPlan.from_yaml(plan), stop=stop):
        if isinstance(event, Step) and event.step == 3:
            stop.set()
    done(plan, only="split", again=True)
    for event in run_workflow(WorkflowPlan.from_yaml(plan)):
        if isinstance(event, Step):
            steps.append(event.step)
        if isinstance(event, Done) and event.step == "train":
            break
    assert steps[0] == 4
    assert steps[-1] == 30


@pytest.mark.parametrize("out", [".", "mine"])
def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, out: str) -> None:
    plan = write_plan(tmp_path, out=out)
    mine = tmp_path / out / "run" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match=r"(?s)contains files that are not from a workflow.*Set `out`"):
        done(plan)
    assert mine.read_text(encoding="utf-8") == "mine"


def test_results_that_cannot_be_written_end_the_workflow_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text = Path.write_text

    def write(path: Path, *given: Any, **named: Any) -> int:
        return write_text(Path("/dev/full") if path.name == "check.json" else path, *given, **named)

    monkeypatch.setattr(Path, "write_text", write)
    plan = write_plan(tmp_path)
    with pytest.raises(StorageError, match=r"(?s)workflow cannot be written: the disk is full.*set `out`"):
        done(plan, only="check")


def test_a_person_judges_and_the_workflow_goes_on(carried_out: tuple[Path, dict[str, Done]]) -> None:
    plan, _ = carried_out
    folder = plan.parent / "workflow"
    text = plan.read_text(encoding="utf-8")
    plan.write_text(text + "judge: person\n", encoding="utf-8")
    waiting = done(plan)
    assert "release" not in waiting
    assert waiting["ab"].result["waiting"].startswith("0 of 6 pairs judged")
    said = CliRunner().invoke(main, ["workflow", str(plan)]).stdout
    assert shlex.join(["ftdemo", "judge", str(plan)]) in said
    for pair in ab_test.read_pairs(folder):
        ab_test.record_judgement(folder, pair["number"], "even")
    steps = done(plan)
    assert steps["ab"].result["win_rate"] == 0.5
    assert steps["release"].result["decision"].startswith("Do not release yet.")
    plan.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"datta": 1}, "`datta`: Extra inputs are not permitted"),
        ({"heldout": 0.9}, "`heldout` is 0.9, but it should be less than or equal to 0.5"),
        ({"train": {"data": "other.jsonl"}}, "`data` has no effect within `train`."),
    ],
)
def test_a_plan_with_a_wrong_key_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(RecipeError) as refusal:
        WorkflowPlan.from_yaml(write_plan(tmp_path, **changes))
    assert told in refusal.value.what
    with pytest.raises(RecipeError, match=r"nowhere\.yaml: No such file"):
        WorkflowPlan.from_yaml(tmp_path / "nowhere.yaml")


def test_a_tilde_in_a_plan_is_the_users_home(tmp_path: Path) -> None:
    plan = WorkflowPlan.from_yaml(write_plan(tmp_path, data="~/rows.jsonl", out="results"))
    assert (plan.data, plan.out) == (Path.home() / "rows.jsonl", tmp_path / "results")


def test_the_shell_carries_out_a_step_and_says_what_came_of_it(tmp_path: Path) -> None:
    plan = write_plan(tmp_path)
    result = CliRunner().invoke(main, ["workflow", str(plan), "--step", "check"])
    assert result.exit_code == 0, result.output
    assert "check     rows 25, left out 1" in result.stdout
    unknown = CliRunner().invoke(main, ["workflow", str(plan), "--step", "luck"])
    assert "There is no step luck." in unknown.stderr
    early = CliRunner().invoke(main, ["judge", str(plan)])
    assert "contains no pairs to judge" in early.stderr


# The test itself


def test_the_number_of_pairs_that_a_difference_needs_is_that_of_the_books() -> None:
    """By exact binomial power, a win rate of 60% needs some 200 pairs, and one of 75% some 30."""
    assert ab_test.pairs_needed(0.1) == 194
    assert ab_test.pairs_needed(0.25) == 29


def test_the_order_of_pairs_is_blinded_and_judgements_are_turned_back(tmp_path: Path) -> None:
    base = [Answer(f"{n}?", f"base {n}", "", True) for n in range(40)]
    tuned = [Answer(f"{n}?", f"tuned {n}", "", True) for n in range(40)]
    ab_test.write_pairs(tmp_path, base, tuned, seed=0, of="run")
    pairs = ab_test.read_pairs(tmp_path)
    first = sum(pair["a"].startswith("tuned") for pair in pairs)
    assert 10 <= first <= 30  # of 40 throws; outside of it falls one series in a thousand
    for pair in pairs:
        ab_test.record_judgement(tmp_path, pair["number"], "a" if pair["a"].startswith("tuned") else "b")
    ab_test.record_judgement(tmp_path, 3, "even")
    judged = ab_test.read_judgements(tmp_path)
    assert (len(judged), judged[3], sum(judged.values())) == (40, 0.5, 39.5)
    assert ab_test.read_answers(tmp_path)[7] == (base[7], tuned[7])


def test_decisions_follow_the_interval() -> None:
    assert ab_test.decision(ab_test.result([1.0] * 30, 0.1)).startswith("Release.")
    assert ab_test.decision(ab_test.result([0.0] * 30, 0.1)).startswith("Do not release. ")
    undecided = ab_test.decision(ab_test.result([1.0, 0.0] * 15, 0.1))
    assert undecided.startswith("Do not release yet.")
    assert "194 pairs are needed" in undecided
