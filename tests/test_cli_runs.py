"""The shell on the real model: train, Ctrl-C, chat."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ftdemo.run import Run

QUICK = ["examples=8", "max_steps=2", "epochs=9", "batch_tokens=256", "sample_prompts=1", "eval_every=null"]


def command(*arguments: str, settings: list[str] = QUICK) -> list[str]:
    sets = [part for setting in settings for part in ("--set", setting)]
    return [sys.executable, "-m", "ftdemo", *arguments, *sets]


def start(out: Path, *settings: str) -> subprocess.Popen[str]:
    line = command("train", "lora", "--json", "--out", str(out), settings=[*QUICK, *settings])
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], event: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line)["event"] == event:
            return
    raise AssertionError(f"there was no {event}")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run made by the shell, and what the shell said."""
    out = tmp_path_factory.mktemp("shell") / "run"
    done = subprocess.run(command("train", "lora", "--out", str(out)), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return out, done.stdout


def test_train_shows_loss_speed_and_scores_and_where_the_run_is(trained: tuple[Path, str]) -> None:
    out, said = trained
    assert "2,442,240 of 136,957,248 parameters move" in said
    assert "loss " in said
    assert "tokens/s" in said
    assert "format" in said
    assert "ftdemo chat" in said
    assert Run.load(out).record["status"] == "completed"


def test_chat_answers_each_line_of_its_input(trained: tuple[Path, str]) -> None:
    said = [sys.executable, "-m", "ftdemo", "chat", str(trained[0])]
    done = subprocess.run(said, input="Is it open?\nAnd on Sunday?\n", capture_output=True, text=True, check=True)
    assert len([block for block in done.stdout.split("\n\n") if block.strip()]) >= 2
    assert "Traceback" not in done.stderr


def test_json_gives_every_event_on_a_line_of_its_own(tmp_path: Path) -> None:
    process = start(tmp_path / "run")
    output, errors = process.communicate(timeout=300)
    kinds = [json.loads(line)["event"] for line in output.splitlines()]
    assert kinds == ["started", "evaluated", "sampled", "step", "step", "evaluated", "sampled", "finished", "saved"]
    assert errors == ""


def test_ctrl_c_in_mid_run_keeps_what_was_trained(tmp_path: Path) -> None:
    process = start(tmp_path / "run", "max_steps=500")
    wait_for(process, "step")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    record = Run.load(tmp_path / "run").record
    assert process.returncode == 130
    assert "is kept in" in errors
    assert "Traceback" not in errors
    assert record["status"] == "stopped"
    assert record["steps"] < 500
    assert record["scores"]["after"]


def test_a_second_ctrl_c_interrupts_at_once_and_keeps_what_was_trained(tmp_path: Path) -> None:
    process = start(tmp_path / "run", "max_steps=500")
    wait_for(process, "step")
    process.send_signal(signal.SIGINT)
    wait_for(process, "evaluated")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert Run.load(tmp_path / "run").record["status"] == "stopped"


def test_ctrl_c_before_the_first_step_leaves_nothing(tmp_path: Path) -> None:
    process = start(tmp_path / "run")
    wait_for(process, "started")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "nothing to keep" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
