"""What demos have in common, without a browser."""

from __future__ import annotations

import asyncio
import errno
import gzip
import json
import re
import shlex
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from click.testing import CliRunner

from ftdemo.cli.main import main
from ftdemo.data import faults
from ftdemo.errors import FtdemoError
from ftdemo.recipe import named
from ftdemo.runs.run import Run
from ftdemo.ui import compute, limits
from ftdemo.ui.bounds import BoundedBody
from ftdemo.ui.job_queue import JobQueue, StopFile
from ftdemo.ui.run_view import shell_command
from ftdemo.ui.sessions import Session
from ftdemo.ui.training_demo import TrainingDemo, models_for
from ftdemo.ui.user_data import (
    LABELS_FILE,
    PAIRS_FILE,
    TEXTS_FILE,
    describe_rows,
    pair_settings,
    recipe_settings,
    user_file,
)

VISITOR: Any = SimpleNamespace(session_hash="visitor", client=SimpleNamespace(host="127.0.0.1"))


def all_of(outputs: AsyncIterator[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """All outputs until the end."""

    async def gather() -> list[tuple[Any, ...]]:
        return [each async for each in outputs]

    return asyncio.run(gather())


def test_a_file_too_short_to_hold_rows_out_is_trained_on_and_the_sentence_says_so(tmp_path: Path) -> None:
    own = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"Is it {n}?", "completion": "Yes."} for n in range(3)]
    own.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    demo = TrainingDemo("short", {"tiny": named("full", "tiny")})
    *_, last = all_of(demo.train("tiny", {"data": str(own), "examples": None}, "", VISITOR))
    status, *_, command, key = last
    assert "Done: 3,054,528 of 3,054,528 weights trained" in status
    assert "held" not in status
    assert command == "ftdemo train full --set data=mine.jsonl"
    folder = demo.run_folder(key, VISITOR)
    assert Run.load(folder).record["status"] == "completed"
    session = demo.sessions.find(key, VISITOR)
    assert session is not None
    demo.sessions.clean_up(session.used_at + 3601)
    assert not folder.exists()
    assert demo.sessions.find(key, VISITOR) is None


def test_the_predicted_time_includes_what_follows_training_once_it_has_been_measured() -> None:
    demo = TrainingDemo("counts", {"tiny": named("full", "tiny")})

    def finish(*_: Any) -> Iterator[str]:
        yield "Looking …"
        time.sleep(2)

    def prediction() -> str:
        return demo.predict_cost("tiny", {"examples": 8}, finish)

    def seconds() -> int:
        return int(re.findall(r"about (\d+) s", prediction())[0])

    before = seconds()
    assert "come on top" in prediction()
    assert "come on top" not in demo.predict_cost("tiny", {"examples": 8})
    *_, last = all_of(demo.train("tiny", {"examples": 8}, "", VISITOR, finish=finish))
    assert "Including the evaluation, it took" in last[0]
    assert "come on top" not in prediction()
    assert seconds() >= before + 1  # both are rounded
    *_, last = all_of(demo.train("tiny", {"examples": 8}, "", VISITOR, finish=finish))
    assert "Including evaluation and tests, it took" in last[0]


def test_findings_about_good_rows_are_shown_with_the_page_that_explains_them() -> None:
    rows = [{"prompt": f"{name}?", "completion": "Yes."} for name in ("Open", "Shut", "<b>", "OPEN")]
    html = describe_rows(None, "".join(json.dumps(row) + "\n" for row in rows))
    assert "4 examples, all of them usable" in html
    assert "1 example, the same as an earlier one" in html
    assert "Line 4." in html
    assert 'href="https://ftdemo.github.io/terms/data-contamination/"' in html
    assert "4 examples, fewer than 10" in html


def test_a_packed_file_is_not_taken_from_a_visitor(tmp_path: Path) -> None:
    packed = tmp_path / "rows.jsonl"
    packed.write_bytes(gzip.compress(b'{"text": "a"}\n'))
    html = describe_rows(str(packed), None)
    assert "ft-error" in html
    assert "does not accept compressed or Parquet files" in html


def test_a_job_that_fails_is_reported_and_leaves_no_folder() -> None:
    demo = TrainingDemo("fails", {"tiny": named("full", "tiny")})
    with pytest.raises(gr.Error, match=r"There is no data called nowhere\.jsonl"):
        all_of(demo.train("tiny", {"data": "nowhere.jsonl"}, "", VISITOR))
    session = demo.sessions.find("", VISITOR)
    assert session is not None
    assert session.outputs is not None
    assert "There is no data called nowhere.jsonl" in session.outputs[0]
    assert list(session.folder.iterdir()) == []
    session.remove()


def test_an_answer_that_breaks_off_ends_with_a_sentence_in_its_place(
    chat_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = chat_run.load_model()

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("the memory is full")

    monkeypatch.setattr(model, "generate", fail)
    monkeypatch.setattr(compute, "_tuned", lambda _folder: (model, tokenizer))
    monkeypatch.setattr(compute, "_untrained", lambda _model: (model, tokenizer))
    demo = TrainingDemo("breaks", {"tiny": named("full", "tiny")})
    monkeypatch.setattr(demo, "run_folder", lambda *_: chat_run.folder)
    said = "The model could not finish its answer: the memory is full. Try a shorter message."
    *_, (_message, history) = demo.chat("Where is my rope?", [], "", VISITOR)
    assert history[-1]["role"] == "assistant"
    assert said in history[-1]["content"]
    *_, both = demo.ask_both("Where is my rope?", "", VISITOR)
    assert both.count(said) == 2


def test_an_error_that_nobody_foresaw_ends_an_answer_with_a_sentence_too(
    chat_run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Any:
        raise KeyError("lost")

    monkeypatch.setattr(compute, "_tuned", fail)
    demo = TrainingDemo("breaks", {"tiny": named("full", "tiny")})
    monkeypatch.setattr(demo, "run_folder", lambda *_: chat_run.folder)
    *_, (_message, history) = demo.chat("Where is my rope?", [], "", VISITOR)
    assert "The model could not finish its answer: 'lost'. Ask again, or train again." in history[-1]["content"]
    assert "An answer broke off" in caplog.text


@pytest.mark.parametrize(
    "settings",
    [
        {"targets": "q_proj, v_proj", "lr": 1e-4},
        {"targets": r".*\.(q|v)_proj", "eval_every": None},
        {"data": "my rows #1.jsonl", "rank_stabilized": True, "optimizer": "adamw"},
    ],
)
def test_the_command_that_a_demo_shows_repeats_the_recipe_in_a_shell(settings: dict[str, Any]) -> None:
    recipe = named("lora", "tiny").with_settings(settings)
    program, *words = shlex.split(shell_command(recipe))
    assert program == "ftdemo"
    done = CliRunner().invoke(main, [*words, "--show"])
    assert done.exit_code == 0, done.output
    assert done.stdout == recipe.to_yaml()


def test_a_full_disk_ends_a_visitors_job_with_a_sentence_and_lets_the_next_one_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    session = Session("page")
    with monkeypatch.context() as full:
        full.setattr("tempfile.mkdtemp", refuse)
        session.start(lambda _folder, _stop: iter([("done",)]), lambda text, error=False: (text,), "here")
        with pytest.raises(gr.Error, match="Your run cannot be written: the disk is full"):
            all_of(session.follow())
    session.start(lambda _folder, _stop: iter([("done",)]), lambda text, error=False: (text,), "here")
    assert all_of(session.follow())[-1] == ("done",)
    with monkeypatch.context() as full:
        full.setattr(Path, "mkdir", refuse)
        with pytest.raises(FtdemoError, match="Your run cannot be written"):
            Session("another page")


def test_jobs_run_in_the_order_in_which_they_joined_and_the_others_see_how_many_are_before(tmp_path: Path) -> None:
    queue, order, waited = JobQueue(), [], []
    first, second, third = (queue.join("here") for _ in range(3))
    stop = StopFile(tmp_path / "stop")

    def work(ticket: object, name: str) -> None:
        with queue.turn(ticket, stop, lambda before: waited.append((name, before))) as is_mine:
            assert is_mine
            order.append(name)

    later = [
        threading.Thread(target=work, args=(ticket, name)) for ticket, name in ((third, "third"), (second, "second"))
    ]
    with queue.turn(first, stop, lambda before: waited.append(("first", before))) as is_mine:
        assert is_mine
        for thread in later:
            thread.start()
        while len(waited) < 2:
            time.sleep(0.01)
        assert order == []
    for thread in later:
        thread.join(10)
    assert order == ["second", "third"]
    assert ("third", 2) in waited
    assert ("second", 1) in waited


def test_a_job_that_is_stopped_while_waiting_waits_no_longer(tmp_path: Path) -> None:
    queue, stop = JobQueue(), StopFile(tmp_path / "stop")
    first, second = queue.join("here"), queue.join("here")
    with queue.turn(first, StopFile(tmp_path / "other"), lambda _: None):
        stop.set()
        with queue.turn(second, stop, lambda _: None) as is_mine:
            assert not is_mine


def test_a_flood_from_one_address_is_refused_and_others_may_still_come() -> None:
    queue = JobQueue()
    for _ in range(32):
        queue.join("flood")
    for _ in range(10_000):
        with pytest.raises(FtdemoError, match="from your address"):
            queue.join("flood")
    queue.join("somebody else")


def test_a_session_ends_soon_after_its_page_was_closed_but_not_at_once() -> None:
    demo = TrainingDemo("closes", {"tiny": named("full", "tiny")})
    session = demo.sessions.enter("", VISITOR)
    demo.sessions.leave(VISITOR)
    assert session.closed_at is not None
    demo.sessions.clean_up(session.closed_at + 10)
    assert demo.sessions.find(session.key, None) is session
    again = demo.sessions.enter(session.key, SimpleNamespace(session_hash="after the reload"))
    assert again is session
    demo.sessions.clean_up(time.monotonic() + 200)
    assert session.folder.exists()
    demo.sessions.leave(SimpleNamespace(session_hash="after the reload"))
    demo.sessions.clean_up(time.monotonic() + 200)
    assert not session.folder.exists()


def test_what_a_visitor_brings_is_checked_row_by_row_and_shown_as_text(tmp_path: Path) -> None:
    html = describe_rows(None, '{"prompt": "a", "completion": "b"}\n{"<script>alert(1)</script>": 1}\n[]')
    assert "<script>" not in html
    assert "pasted.jsonl:2" in html
    assert "pasted.jsonl:3" in html
    assert str(tmp_path.anchor) + "tmp" not in html
    assert "2 examples, all of them usable" in describe_rows(None, "One.\n\nTwo.")
    assert describe_rows(None, " ") == ""


@pytest.mark.parametrize("example", [PAIRS_FILE, TEXTS_FILE, LABELS_FILE])
def test_the_example_files_to_start_from_are_good(example: Path) -> None:
    assert faults(example)[0] == []


def test_in_public_a_run_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    demo = TrainingDemo("bounded", {"tiny": named("full", "tiny")})
    assert demo.recipe("tiny", {"examples": 5000}).examples == 5000
    monkeypatch.setenv("SPACE_ID", "somebody/bounded")
    assert demo.recipe("tiny", {"examples": 100}).max_steps == limits.IN_PUBLIC.steps
    with pytest.raises(FtdemoError, match="at most 2,000"):
        demo.recipe("tiny", {"examples": 5000})
    with pytest.raises(FtdemoError, match="no model or task called /etc"):
        demo.recipe("/etc", {})
    large = tmp_path / "large.txt"
    large.write_text("word " * 300_000)
    with pytest.raises(FtdemoError, match="larger than 1 MB"):
        user_file(str(large), None)
    with pytest.raises(FtdemoError, match="larger than 1 MB"):
        user_file(None, "word " * 300_000)
    many = tmp_path / "many.txt"
    many.write_text("word\n\n" * 3000)
    assert recipe_settings(str(many), None, 8) == {"data": str(many), "examples": 2000}
    assert "Only the first 2,000 are used" in describe_rows(str(many), None)


@pytest.mark.parametrize(("rows", "epochs"), [(1, 40.0), (5, 40.0), (20, 10.0), (150, None), (3000, None)])
def test_few_pairs_of_a_visitors_own_are_read_several_times(rows: int, epochs: float | None) -> None:
    text = "".join(json.dumps({"prompt": f"{n}?", "completion": "Yes."}) + "\n" for n in range(rows))
    settings = pair_settings(None, text, 8)
    assert settings.get("epochs") == epochs
    assert named("lora", "tiny").with_settings(settings).examples is None
    assert pair_settings(None, "", 8) == {"examples": 8}


def test_a_public_run_that_takes_too_long_is_stopped_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AT_HOME", replace(limits.AT_HOME, seconds=0.5))
    demo = TrainingDemo("long", {"tiny": named("full", "tiny")})
    *_, last = all_of(demo.train("tiny", {"sample_prompts": 2, "epochs": 50}, "", VISITOR))
    assert "Stopped early" in last[0]
    assert Run.load(demo.run_folder(last[-1], VISITOR)).record["status"] == "stopped"


def test_the_predicted_time_grows_with_the_number_of_examples() -> None:
    usual = named("full", "tiny")
    few, many = (compute.predicted_seconds(usual.with_settings({"examples": n})) for n in (40, 400))
    assert 0 < few < many


def test_a_request_that_is_too_large_is_refused_whether_or_not_it_says_so() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            if not message.get("more_body"):
                await send({"type": "http.response.start", "status": 200, "headers": []})
                return

    async def ask(headers: list[tuple[bytes, bytes]], parts: int) -> list[Any]:
        sent: list[Any] = []
        left = iter(range(parts, 0, -1))

        async def receive() -> Any:
            return {"type": "http.request", "body": bytes(1_000_000), "more_body": next(left) > 1}

        async def send(message: Any) -> None:
            sent.append(message)

        await BoundedBody(app)({"type": "http", "headers": headers}, receive, send)
        return sent

    assert asyncio.run(ask([], 3))[0]["status"] == 200
    assert asyncio.run(ask([(b"content-length", b"100000000")], 3))[0]["status"] == 413
    assert asyncio.run(ask([(b"content-length", b"many")], 3))[0]["status"] == 413
    assert asyncio.run(ask([], 100)) == []  # the connection ends where the limit is passed


def test_larger_models_are_offered_where_there_is_a_gpu() -> None:
    assert list(models_for("cpu")) == ["tiny", "smollm2"]
    assert list(models_for("cuda"))[:2] == ["tiny", "smollm2"]
    assert "HuggingFaceTB/SmolLM2-1.7B-Instruct" in models_for("cuda")
