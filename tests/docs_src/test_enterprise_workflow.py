"""The guide's commands on the data that it names: what it shows is what they print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shown import SOURCES, commands, ftdemo, lacking, source
from transformers import AutoModelForCausalLM, AutoTokenizer

from ftdemo.comparison.workflow import WorkflowPlan
from ftdemo.data import BUILT_IN
from ftdemo.runs.run import Run

OF_THE_MACHINE = ("cpu, ", "multiplies bfloat16", "completed: ")
"""Lines that are about the processor and its speed."""
BEFORE = ("before: ", "I don't have", "branding or")
"""Lines of an answer in free text, of which another processor may write another."""


@pytest.fixture(autouse=True)
def three_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The split that the guide shows, of the built-in tickets."""
    monkeypatch.chdir(tmp_path)
    names = [line.split()[0] for line in source("enterprise-workflow/split.txt").splitlines()]
    folder, train, heldout, test = names
    assert (folder, train, heldout, test) == ("mine/", "train.jsonl", "heldout.jsonl", "test.jsonl")
    lines = BUILT_IN["tickets"].heldout.read_text(encoding="utf-8").splitlines(keepends=True)
    Path(folder).mkdir()
    (Path(folder) / train).write_bytes(BUILT_IN["tickets"].train.read_bytes())
    (Path(folder) / heldout).write_text("".join(lines[:-30]), encoding="utf-8")
    Path(test).write_text("".join(lines[-30:]), encoding="utf-8")


def test_the_first_example_is_as_shown() -> None:
    (words,) = commands("enterprise-workflow/inspect.sh")
    assert ftdemo(words) == source("enterprise-workflow/inspect.txt")


@pytest.mark.slow
def test_training_and_evaluating_print_what_is_shown() -> None:
    (train,) = commands("enterprise-workflow/train.sh")
    missing = lacking(source("enterprise-workflow/train.txt"), ftdemo(train))
    assert [line for line in missing if not line.startswith((*OF_THE_MACHINE, *BEFORE))] == []
    _, on_test, _ = commands("enterprise-workflow/evaluate.sh")
    assert lacking(source("enterprise-workflow/evaluate.txt"), ftdemo(on_test)) == []


def test_a_run_is_merged_into_a_model_that_loads_alone(lora_run: Run, chat_run: Run) -> None:
    code = source("enterprise-workflow/merge.py").replace("the base's Hub id or folder", str(chat_run.folder))
    names: dict[str, Any] = {}
    exec(code.replace("runs/first", str(lora_run.folder)), names)
    AutoModelForCausalLM.from_pretrained("merged")
    assert AutoTokenizer.from_pretrained("merged").chat_template == names["tokenizer"].chat_template


def test_the_plan_is_one_that_ftdemo_reads() -> None:
    plan = WorkflowPlan.from_yaml(SOURCES / "enterprise-workflow/plan.yaml")
    assert (plan.recipe.model, plan.recipe.epochs) == ("smollm2", 3)
