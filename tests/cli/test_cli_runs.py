"""The shell on tiny models: train, Ctrl-C, go on, look at the data, judge, chat."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import carried_out, write_rows

from ftdemo.cli.main import main
from ftdemo.cli.terminal import hangup_as_ctrl_c, new_folder
from ftdemo.data import Turn
from ftdemo.evaluation.generate import stream_reply
from ftdemo.events import Sampled
from ftdemo.models.load import load_ready
from ftdemo.recipe import Recipe
from ftdemo.runs.chat_model import open_chat_model
from ftdemo.runs.run import Run

TINY = (
    *("examples=60", "width=64", "layers=2", "vocabulary=512", "max_length=64", "batch_tokens=512"),
    *("dtype=float32", "sample_prompts=1", "max_steps=4", "epochs=200", "eval_every=null"),
)


def arguments(*given: object, settings: tuple[str, ...] = ()) -> list[str]:
    last = {setting.partition("=")[0]: setting for setting in settings}
    return [*map(str, given), *(part for setting in last.values() for part in ("--set", setting))]


def command(*given: str, settings: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, "-m", "ftdemo", *arguments(*given, settings=settings)]


def start(out: Path, *settings: str) -> subprocess.Popen[str]:
    line = command("train", "scratch", "--json", "--out", str(out), settings=(*TINY, *settings))
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(process: subprocess.Popen[str], event: str, step: int = 0) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        said = json.loads(line)
        if said["event"] == event and said.get("step", 0) >= step:
            return
    raise AssertionError(f"there was no {event}")


def shell(*arguments: object) -> Result:
    """A command that needs no process of its own."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


# Train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run made by the shell, and what the shell said."""
    out = tmp_path_factory.mktemp("shell") / "run"
    line = command("train", "scratch", "--out", str(out), settings=TINY)
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return out, done.stdout


def test_train_shows_loss_speed_and_scores_and_where_the_run_is(trained: tuple[Path, str]) -> None:
    out, said = trained
    record = Run.load(out).record
    assert "127,808 of 127,808 parameters are trained (100.0%)" in said
    assert "loss " in said
    assert "tokens/s" in said
    assert f"held-out loss after step 4: {record['heldout_loss']['after']:.3f}, " in said
    assert "bits per byte" in said
    assert "parsed" in said
    assert "ftdemo chat" in said
    assert "ftdemo evaluate" in said
    assert record["status"] == "completed"


def test_train_tells_what_a_model_that_only_counts_would_reach(trained: tuple[Path, str]) -> None:
    said = " ".join(trained[1].split())
    assert "for comparison, losses in nats per token: uniform 6.24, unigram" in said  # ln 512 = 6.24


def test_train_of_an_adapter_shows_how_little_moves(lora_recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(lora_recipe.to_yaml(), encoding="utf-8")
    done = shell("train", tmp_path / "recipe.yaml", "--out", tmp_path / "run")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "18,944 of 134,464 parameters are trained (14.1%)" in done.stdout
    assert "learning rate 0.01, set in the recipe" in done.stdout
    assert "before:" in done.stdout
    assert "after:" in done.stdout


def test_json_gives_every_event_on_a_line_of_its_own(tmp_path: Path) -> None:
    done = shell(*arguments("train", "scratch", "--json", "--out", tmp_path / "run", settings=(*TINY, "max_steps=2")))
    kinds = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert kinds == ["started", "evaluated", "sampled", "step", "step", "evaluated", "sampled", "finished", "saved"]
    assert done.stderr == ""


def test_train_without_prompts_to_answer_ends_as_well(tmp_path: Path) -> None:
    done = shell(*arguments("train", "scratch", "--out", tmp_path / "run", settings=(*TINY, "sample_prompts=0")))
    assert done.exit_code == 0, done.stderr
    assert "completed" in done.stdout
    assert Run.load(tmp_path / "run").record["scores"] == {"before": {}, "after": {}}


def test_train_sums_up_scores_and_answers_however_often_prompts_were_answered(tmp_path: Path) -> None:
    out = tmp_path / "a run"
    done = shell(*arguments("train", "scratch", "--out", out, settings=(*TINY, "sample_every=1")))
    assert done.exit_code == 0, done.output
    assert len([event for event in Run.load(out).events if isinstance(event, Sampled)]) == 5
    assert re.search(r"parsed +0\.\d\d -> [01]\.\d\d", done.stdout)
    assert "before:" in done.stdout
    assert "after:" in done.stdout
    assert f"Evaluate it: ftdemo evaluate '{out}'\nChat with it: ftdemo chat '{out}'\n" in done.stdout


def test_train_suggests_only_commands_that_can_be_carried_out(probe_recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(probe_recipe.to_yaml(), encoding="utf-8")
    classifier = shell("train", tmp_path / "recipe.yaml", "--out", tmp_path / "run")
    assert f"Evaluate it: ftdemo evaluate {tmp_path / 'run'}\n" in classifier.stdout
    assert "ftdemo chat" not in classifier.stdout
    few = write_rows(tmp_path / "few.jsonl", [{"prompt": "Open?", "completion": "Yes."}] * 3)
    short = shell("train", "full", "--data", few, "--out", tmp_path / "short")
    assert short.exit_code == 0, short.output
    note = f"Note: Nothing is evaluated, because {few} has fewer than 10 examples."
    assert "".join(note.split()) in "".join(short.stdout.split())
    assert f"ftdemo evaluate {tmp_path / 'short'} --data FILE" in short.stdout


# Ctrl-C and on


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """A run of 60 steps that Ctrl-C ended, its exit code, and what was said about it."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    process = start(out, "max_steps=60")
    wait_for(process, "step")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    return out, process.returncode, errors


def test_ctrl_c_in_mid_run_keeps_what_was_trained(stopped: tuple[Path, int, str]) -> None:
    out, code, errors = stopped
    record = Run.load(out).record
    assert code == 130
    assert f"The run is saved in {out}. Continue it: ftdemo train --resume {out}" in errors
    assert "Traceback" not in errors
    assert record["status"] == "stopped"
    assert record["steps"] < 60
    assert record["scores"]["after"]


def test_resume_goes_on_with_a_run_that_was_stopped_and_only_once(stopped: tuple[Path, int, str]) -> None:
    out = stopped[0]
    steps = Run.load(out).record["steps"]
    done = subprocess.run(command("train", "--resume", str(out)), capture_output=True, text=True, check=True)
    run = Run.load(out)
    assert done.stderr == ""
    assert "60/60" in done.stdout
    assert re.search(r"parsed +0\.\d\d -> [01]\.\d\d", done.stdout)
    assert run.record["status"] == "completed"
    assert steps < run.record["steps"] == 60
    again = shell("train", "--resume", out)
    assert again.exit_code == 2
    assert "the run is complete" in again.stderr
    assert Run.load(out).record == run.record


def test_a_second_ctrl_c_interrupts_at_once_and_keeps_what_was_trained(tmp_path: Path) -> None:
    process = start(tmp_path / "run", "max_steps=5000", "sample_prompts=60")
    wait_for(process, "step")
    process.send_signal(signal.SIGINT)
    wait_for(process, "evaluated")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert Run.load(tmp_path / "run").record["status"] == "stopped"


def test_ctrl_c_before_the_first_step_leaves_nothing(tmp_path: Path) -> None:
    process = start(tmp_path / "run")
    wait_for(process, "started")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "No step was taken, so nothing is saved." in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_after_the_last_step_offers_no_way_to_go_on(tmp_path: Path) -> None:
    process = start(tmp_path / "run", "sample_prompts=8")
    wait_for(process, "evaluated", step=4)  # the answers are still to come
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "The run is saved in" in errors
    assert "--resume" not in errors
    assert Run.load(tmp_path / "run").record["status"] == "completed"


def default_hangup() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # where the tests run under nohup, it is ignored


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="the system has no SIGHUP")
def test_a_closed_terminal_keeps_what_was_trained(tmp_path: Path) -> None:
    """A terminal that closes takes input and output with it, and sends the signal more than once."""
    import pty

    terminal, ours = pty.openpty()
    line = command("train", "scratch", "--out", str(tmp_path / "run"), settings=(*TINY, "max_steps=2000"))
    process = subprocess.Popen(
        line, stdin=ours, stdout=ours, stderr=ours, preexec_fn=default_hangup, start_new_session=True
    )
    os.close(ours)
    seen = b""
    while b"tokens/s" not in seen:
        seen += os.read(terminal, 4096)
    os.close(terminal)
    for _ in range(2):
        process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=600) == 130
    record = Run.load(tmp_path / "run").record
    assert record["status"] == "stopped"
    assert 0 < record["steps"] < 2000
    assert record["scores"]["after"]
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("as_json", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_closed_output_keeps_what_was_trained(tmp_path: Path, as_json: bool) -> None:
    """As `ftdemo train … | head -1` does, whose head is gone before the first step."""
    line = command("train", "scratch", "--out", str(tmp_path / "run"), settings=(*TINY, "max_steps=2000"))
    process = subprocess.Popen(
        [*line, *(["--json"] if as_json else [])], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=600) == 130
    assert f"The run is saved in {tmp_path / 'run'}. Continue it: ftdemo train --resume" in errors
    assert "Traceback" not in errors
    assert "Exception" not in errors
    record = Run.load(tmp_path / "run").record
    assert record["status"] == "stopped"
    assert record["steps"] == 1
    assert record["scores"]["after"]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="the system has no SIGHUP")
def test_a_closed_terminal_interrupts_an_experiment_and_lets_it_keep_its_run() -> None:
    kept = []

    def run() -> None:
        with hangup_as_ctrl_c():
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGHUP)  # the shell's, after the terminal's
                kept.append("run")

    usual = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert kept == ["run"]
    assert signal.getsignal(signal.SIGTERM) is usual


def test_an_error_while_events_are_printed_keeps_what_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(event: dict[str, Any]) -> None:
        if event["event"] == "step":
            raise ZeroDivisionError

    monkeypatch.setattr("ftdemo.cli.train.print_json", fail)
    done = shell(*arguments("train", "scratch", "--json", "--out", tmp_path / "run", settings=TINY))
    assert isinstance(done.exception, ZeroDivisionError)
    assert Run.load(tmp_path / "run").record["steps"] == 1


def test_two_runs_of_the_same_second_have_folders_of_their_own() -> None:
    assert len({new_folder("lora") for _ in range(20)}) == 20


def test_a_path_is_printed_as_it_is(tmp_path: Path) -> None:
    """Neither its brackets nor its colons are markup."""
    out = tmp_path / "[bold]r[/x]:smile:"
    done = shell(*arguments("train", "scratch", "--out", out, settings=TINY))
    assert done.exit_code == 0, done.output
    assert f"Saved in {out}.\nEvaluate it: ftdemo evaluate {shlex.quote(str(out))}\nChat with it:" in done.stdout


@pytest.mark.parametrize("name", ["file/run", "link", "n" * 300])
def test_a_place_where_no_run_can_be_written_is_refused_before_anything_is_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    done = shell("train", "lora", "--data", "nothing-there.jsonl", "--out", tmp_path / name)
    assert done.exit_code in (1, 2)
    assert "cannot be written" in done.stderr
    assert "Name another folder with `--out`." in done.stderr


def shown_in(encoding: str, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    """What a command prints into a file of this encoding."""
    output = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(output, encoding=encoding))
    main([str(argument) for argument in arguments], standalone_mode=False)
    sys.stdout.flush()
    return output.getvalue().decode(encoding)


def test_data_is_shown_also_where_the_output_lacks_its_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where the output goes to a file."""
    rows = [{"prompt": f"Wo ist 我的 {n}?", "completion": f"Überall – {n}. 😀"} for n in range(3)]
    file = write_rows(tmp_path / "data.jsonl", rows)
    shown = partial(shown_in, "cp1252", monkeypatch)
    assert "####" in shown("check-data", file)
    assert json.loads(shown("check-data", "--json", file))["rows"] == 3
    inspected = shown("inspect", file)
    assert r"Wo ist \u6211\u7684 0?" in inspected
    assert r"[Überall – 0. \U0001f600" in inspected


# Inspect


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three chats: one short, one whose answer is long, one whose prompt is."""
    rows = [
        {"prompt": "Is it open?", "completion": "Yes."},
        {"prompt": "Why?", "completion": "Because " + "of the tide " * 30},
        {"prompt": "Well " + "then and " * 60, "completion": "No."},
    ]
    file: Path = write_rows(tmp_path_factory.mktemp("data") / "letters.jsonl", rows)
    return file


def test_inspect_marks_what_is_trained(letters: Path) -> None:
    done = shell("inspect", letters, "--rows", 1, "--set", "model=smollm2")
    assert done.exit_code == 0, done.output
    assert "<|im_start|>user\nIs it open?<|im_end|>\n<|im_start|>assistant\n⟦Yes.<|im_end|>⟧\n" in done.stdout
    assert "example 1: 38 tokens, 3 trained" in done.stdout
    assert "example 2" not in done.stdout
    assert "3 examples" in done.stdout


def test_inspect_and_train_name_a_key_that_the_model_does_not_read(tmp_path: Path) -> None:
    row = json.dumps({"prompt": "Where is it?", "completion": "There.", "images": ["it.png"]})
    data = tmp_path / "seen.jsonl"
    data.write_text(f"{row}\n" * 3, encoding="utf-8")
    note = "The model does not read `images`, which 3 examples have."
    assert f"Note: {note}" in shell("inspect", data).stdout
    trained = shell("train", "lora", "--data", data, "--max-steps", 1, "--out", tmp_path / "run", "--json")
    assert note in json.loads(trained.stdout.splitlines()[0])["notes"]


def test_inspect_tells_which_rows_are_cut_and_which_are_dropped(letters: Path) -> None:
    done = shell("inspect", letters, "--set", "max_length=64")
    assert "trained, cut at 64" in done.stdout
    assert "cut to max_length 64: examples 2" in done.stdout
    assert "dropped, because max_length 64 leaves no token to train: examples 3" in done.stdout
    assert "example 3:" not in done.stdout
    assert "2 examples" in done.stdout


def test_inspect_shows_all_of_a_running_text_as_trained_but_its_first_token(tmp_path: Path) -> None:
    recipe = Recipe(method="scratch", examples=60, vocabulary=512, max_length=1024, batch_tokens=1024)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    done = shell("inspect", tmp_path / "recipe.yaml", "--rows", 3)  # a chat, and texts
    assert done.exit_code == 0, done.output
    assert "<|endoftext|>⟦" in done.stdout
    assert "<|im_end|>⟧" in done.stdout


def test_inspect_refuses_labels_of_which_no_token_is_trained() -> None:
    done = shell("inspect", "routing")
    assert done.exit_code == 2
    assert "routing contains labels: the loss is on the label" in done.stderr


# Evaluate


def test_evaluate_as_json_judges_a_run_before_and_after_on_its_heldout_rows(lora_run: Run) -> None:
    done = shell("evaluate", lora_run.folder, "--json")
    assert done.exit_code == 0, done.output
    result: dict[str, Any] = json.loads(done.stdout)
    assert result.keys() == {"before", "after"}
    for when in ("before", "after"):
        assert result[when].keys() == {"heldout", "old_skill"}
        assert result[when]["heldout"]["loss"]["value"] == pytest.approx(
            lora_run.record["heldout_loss"][when], abs=1e-5
        )
        scores = {name: round(result[when]["heldout"][name]["value"], 4) for name in lora_run.record["scores"][when]}
        assert scores == lora_run.record["scores"][when]
        assert result[when]["old_skill"]["accuracy"]["rows"] == 100


def test_evaluate_prints_each_figure_with_its_interval(probe_run: Run) -> None:
    done = shell("evaluate", probe_run.folder)
    assert done.exit_code == 0, done.output
    assert "held-out: accuracy" in done.stdout
    after = Run.load(probe_run.folder).record["scores"]["after"]["accuracy"]
    assert f"{after:.3f} (" in done.stdout
    assert "old skill" not in done.stdout


def test_evaluate_takes_other_rows_and_as_many_as_are_asked_for(lora_run: Run, letters: Path) -> None:
    done = shell("evaluate", lora_run.folder, "--data", letters, "--rows", 2, "--json")
    assert done.exit_code == 0, done.output
    heldout = json.loads(done.stdout)["after"]["heldout"]
    assert {figure["rows"] for figure in heldout.values()} == {2}
    assert heldout.keys() == {"loss", "perplexity", "stopped", "exact_match"}


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([{"text": "Where is it?", "label": "stock"}], "holds texts with labels, but the model is not a classifier"),
        (
            [{"prompt": "word " * 300, "completion": "Yes."}],
            "no example has a trained token within its first 128 tokens",
        ),
    ],
)
def test_evaluate_refuses_rows_that_say_nothing_about_the_model(
    rows: list[dict[str, Any]], what: str, lora_run: Run, tmp_path: Path
) -> None:
    done = shell("evaluate", lora_run.folder, "--data", write_rows(tmp_path / "mine.jsonl", rows))
    assert done.exit_code == 2, done.output
    assert what in done.stderr


def test_evaluate_of_a_run_that_held_nothing_out_asks_for_rows(lora_run: Run, letters: Path) -> None:
    rows = {"train_rows": 4, "train_sha256": "", "heldout": ""}
    record = {**lora_run.record, "recipe": {**lora_run.record["recipe"], "data": str(letters)}, "rows": rows}
    folder = lora_run.folder.with_name("short")
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    done = shell("evaluate", folder)
    assert done.exit_code == 2
    assert "has no held-out examples" in done.stderr
    assert "--data" in done.stderr


# Chat


def test_chat_answers_each_line_of_its_input(chat_run: Run) -> None:
    done = CliRunner().invoke(main, ["chat", str(chat_run.folder)], input="Where is my rope?\nAnd my oar?\n")
    assert (done.exit_code, done.stderr) == (0, "")
    assert len([block for block in done.stdout.split("\n\n") if block.strip()]) >= 2


@pytest.mark.parametrize("line", ["Où?".encode("latin-1"), "Where?".encode("utf-16")])
def test_chat_refuses_a_line_that_is_not_utf_8_in_a_sentence(line: bytes, chat_run: Run) -> None:
    done = CliRunner().invoke(main, ["chat", str(chat_run.folder)], input=b"Where is my rope?\n" + line + b"\n")
    assert done.exit_code == 2
    assert "A line of the input is not text in UTF-8." in done.stderr
    assert len(done.stdout) > 2


def test_chat_refuses_a_prompt_longer_than_the_context_in_a_sentence() -> None:
    done = CliRunner().invoke(main, ["chat", "tiny"], input="far " * 5000 + "\n")
    assert done.exit_code == 2
    assert re.search(r"The prompt has [\d,]+ tokens, but the model reads at most [\d,]+", done.stderr)


def test_chat_with_an_adapter_says_nothing_but_its_answers(lora_run: Run) -> None:
    done = subprocess.run(
        command("chat", str(lora_run.folder)), input="Where is my rope?\n", capture_output=True, text=True, check=True
    )
    assert done.stderr == ""


def test_chat_says_what_the_run_recorded(chat_run: Run) -> None:
    answer = [event for event in chat_run.events if isinstance(event, Sampled)][-1].answers[0]
    done = CliRunner().invoke(main, ["chat", str(chat_run.folder)], input=answer.prompt + "\n")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(answer.text[:40])


@pytest.mark.parametrize(("answer_tokens", "longest"), [(40, 256), (400, 400)])
def test_a_reply_may_become_as_long_as_the_recipe_says(
    chat_run: Run, tmp_path: Path, answer_tokens: int, longest: int
) -> None:
    folder = shutil.copytree(chat_run.folder, tmp_path / "run")
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    record["recipe"]["answer_tokens"] = answer_tokens
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    assert open_chat_model(str(folder)).max_new_tokens == longest


def test_chat_talks_to_a_model_as_it_is() -> None:
    done = CliRunner().invoke(main, ["chat", "nano"], input="Where is my parcel?\n")
    assert done.exit_code == 0, done.output
    assert len(done.stdout.removeprefix("you> ").strip()) > 20


def test_chat_shows_the_answers_of_a_run_and_of_its_base_side_by_side(
    lora_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(lora_run.folder.parent)
    name = lora_run.folder.name
    done = CliRunner().invoke(main, ["chat", name, "--against", "base"], input="Where is my rope?\n")
    assert done.exit_code == 0, done.output
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == ["base", name]
    turns = [Turn("user", "Where is my rope?")]
    shown = (slice(0, heading.index(name)), slice(heading.index(name), None))
    for column, voice in zip(shown, (load_ready(lora_run.recipe.model), lora_run.load_model()), strict=True):
        said = "".join(stream_reply(*voice, turns, max_new_tokens=lora_run.reply_tokens))
        assert "".join(line[column] for line in lines).replace(" ", "") == "".join(said.split())


def test_chat_with_what_began_with_nothing_has_no_base_beside_it(chat_run: Run) -> None:
    done = shell("chat", chat_run.folder, "--against", "base")
    assert done.exit_code == 2
    assert "started from random weights, which cannot answer" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(("nano", "--against", "base"), "nano is not a run"), (("nano", "--against", "nowhere"), "nowhere holds no run")],
)
def test_chat_refuses_to_compare_with_what_is_not_there(arguments: tuple[str, ...], told: str) -> None:
    done = shell("chat", *arguments)
    assert done.exit_code == 2
    assert told in done.stderr


def test_chat_refuses_what_is_neither_a_run_nor_a_model(tmp_path: Path) -> None:
    done = shell("chat", tmp_path / "none")
    assert done.exit_code == 2
    assert "none" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("damage", "what"),
    [(Path.unlink, "has no adapter_model.safetensors."), (partial(os.truncate, length=100), "cannot be read")],
)
def test_an_adapter_that_is_damaged_is_refused_in_a_sentence(
    damage: Any, what: str, lora_run: Run, tmp_path: Path
) -> None:
    run = shutil.copytree(lora_run.folder, tmp_path / "run")
    damage(run / "adapter_model.safetensors")
    for words in (["chat", str(run)], ["export", str(run), "--to", "merged", "--out", str(tmp_path / "out")]):
        done = CliRunner().invoke(main, words, input="Where is my rope?\n")
        assert done.exit_code == 2
        assert what in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words", [["chat", "{}"], ["chat", "tiny", "--base", "{}"], ["inspect", "{}"], ["compare", "{}"]], ids=" ".join
)
def test_a_text_in_the_place_of_a_name_or_a_path_is_refused_in_a_sentence(words: list[str]) -> None:
    done = shell(*(word.format("Where is my rope? " * 20) for word in words))
    assert done.exit_code == 2
    assert "Error: Where is my rope? Where is my rope? Wher… is neither a name nor a path: File name" in done.stderr


def test_chat_ends_with_a_sentence_if_the_model_cannot_answer(chat_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the memory is full")

    monkeypatch.setattr("transformers.GenerationMixin.generate", fail)
    done = CliRunner().invoke(main, ["chat", str(chat_run.folder)], input="Where is my rope?\n")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: The model could not finish its answer: the memory is full.\nTry a shorter")
    both = CliRunner().invoke(main, ["chat", "nano", "--against", str(chat_run.folder)], input="Where is my rope?\n")
    assert both.exit_code == 1
    assert "the memory is full" in both.stderr


def test_chat_refuses_a_classifier(probe_run: Run) -> None:
    done = shell("chat", probe_run.folder)
    assert done.exit_code == 2
    assert "is a classifier, which does not chat" in done.stderr
    assert f"ftdemo evaluate {probe_run.folder}" in done.stderr


# A base that moved, and options without effect


@pytest.fixture(scope="module")
def moved(lora_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Run], Path]:
    """A LoRA run and a run of all weights on a base in `models/base`, and where that base is now."""
    folder = tmp_path_factory.mktemp("moved")
    base = shutil.copytree(lora_recipe.model, folder / "models" / "base")
    recipe = lora_recipe.with_settings({"model": str(base), "max_steps": 2, "answer_tokens": 4})
    runs = {
        method: carried_out(recipe.with_settings({"method": method}), folder / "a run" / method)
        for method in ("lora", "full")
    }
    return runs, base.rename(folder / "moved base")


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("lora", ["chat", "{run}"]),
        ("lora", ["chat", "{run}", "--against", "base"]),
        ("lora", ["evaluate", "{run}", "--rows", "1"]),
        ("lora", ["export", "{run}", "--to", "merged", "--out", "{out}"]),
        ("lora", ["export", "{run}", "--to", "adapter", "--out", "{out}"]),
        ("lora", ["export", "{run}", "--to", "adapter", "--out", "{out}", "--judge"]),
        ("full", ["chat", "{run}", "--against", "base"]),
        ("full", ["evaluate", "{run}", "--rows", "1"]),
        ("full", ["export", "{run}", "--to", "merged", "--out", "{out}", "--judge"]),
    ],
)
def test_a_base_that_moved_is_asked_for_and_taken_from_where_it_is_now(
    method: str, words: list[str], moved: tuple[dict[str, Run], Path], tmp_path: Path
) -> None:
    run, base = moved[0][method], moved[1]
    given = [word.format(run=run.folder, out=tmp_path / "out") for word in words]
    refused = CliRunner().invoke(main, given, input="Where is my rope?\n")
    assert refused.exit_code == 1
    what, remedy = refused.stderr.splitlines()
    assert what == f"Error: {run.folder} was trained on the model in {run.recipe.model}, and there is no such folder."
    assert remedy == "Name the folder or Hub id of the base with `--base`."
    done = CliRunner().invoke(main, [*given, "--base", str(base)], input="Where is my rope?\n")
    assert done.exit_code == 0, done.output


def test_a_run_whose_base_or_data_is_gone_says_what_to_put_back(
    moved: tuple[dict[str, Run], Path], tmp_path: Path
) -> None:
    run = moved[0]["lora"]
    resumed = shell("train", "--resume", run.folder)
    assert resumed.exit_code == 1
    assert f"{run.recipe.model}, and there is no such folder.\nRestore the model there to resume" in resumed.stderr
    record = {**run.record, "recipe": {**run.record["recipe"], "data": str(tmp_path / "gone.jsonl")}}
    (tmp_path / "run.json").write_text(json.dumps(record), encoding="utf-8")
    evaluated = shell("evaluate", tmp_path)
    assert evaluated.exit_code == 2
    assert "gone.jsonl: no such file here.\nRestore the data, or use `--data` to name examples" in evaluated.stderr


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["chat", "nano", "--base", "tiny"], "--base has no effect: nano is not an adapter."),
        (["chat", "{full}", "--base", "tiny"], "is not an adapter."),
        (
            ["export", "{full}", "--to", "merged", "--out", "{out}", "--base", "tiny"],
            "holds a whole model, not an adapter.",
        ),
        (["export", "{probe}", "--to", "merged", "--out", "{out}", "--judge"], "--judge has no effect: "),
        (["evaluate", "{probe}", "--base", "minilm"], "--base has no effect: "),
        (["export", "{lora}", "--to", "adapter", "--out", "{out}", "--dtype", "bfloat16"], "An adapter is written in"),
        (["record", "--all", "--decide", "--check"], "--check has no effect with --decide."),
        (["record", "--all", "--decide", "--quick"], "--quick has no effect with --decide."),
        (["estimate", "lora", "--utilization", "0.5"], "--utilization has no effect without an accelerator."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_without_effect_is_refused(
    words: list[str], what: str, moved: tuple[dict[str, Run], Path], lora_run: Run, probe_run: Run, tmp_path: Path
) -> None:
    places = {
        "full": moved[0]["full"].folder,
        "lora": lora_run.folder,
        "probe": probe_run.folder,
        "out": tmp_path / "out",
    }
    done = shell(*(word.format(**places) for word in words))
    assert done.exit_code == 2, done.output
    assert what in done.stderr
    assert not (tmp_path / "out").exists()


# Chart


def test_chart_draws_a_runs_loss_and_its_scores(chat_run: Run, tmp_path: Path) -> None:
    for what, name in (("loss", "loss.png"), ("scores", "scores.svg")):
        done = shell("chart", chat_run.folder, "--of", what, "--out", tmp_path / name)
        assert done.exit_code == 0, done.output
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "scores.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "exit_code", "said"),
    [
        ("loss.gif", 2, "does not end in .png or .svg"),
        ("/dev/null/loss.svg", 1, "loss.svg cannot be written: Not a directory"),
    ],
)
def test_chart_refuses_a_file_that_it_cannot_write(file: str, exit_code: int, said: str, chat_run: Run) -> None:
    done = shell("chart", chat_run.folder, "--out", file)
    assert done.exit_code == exit_code
    assert said in done.output
