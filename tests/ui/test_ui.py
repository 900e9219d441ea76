"""What demos have in common, without a browser."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from ftdemo.data import faults
from ftdemo.errors import FtdemoError
from ftdemo.recipe import named
from ftdemo.runs.run import Run
from ftdemo.ui import lab, limits, own, session, visits
from ftdemo.ui.bounds import BoundedBody

VISITOR: Any = SimpleNamespace(session_hash="visitor", client=SimpleNamespace(host="127.0.0.1"))


def all_of(shown: AsyncIterator[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Everything that is shown until the end."""

    async def gather() -> list[tuple[Any, ...]]:
        return [each async for each in shown]

    return asyncio.run(gather())


def test_a_file_too_short_to_hold_rows_out_is_trained_on_and_the_sentence_says_so(tmp_path: Path) -> None:
    own = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"Is it {n}?", "completion": "Aye."} for n in range(3)]
    own.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    demo = lab.Lab("short", {"tiny": named("full", "tiny")})
    *_, last = all_of(demo.train("tiny", {"data": str(own), "examples": None}, "", VISITOR))
    status, *_, command, key = last
    assert "Done: 3,049,920 of 3,049,920 weights moved" in status
    assert "held" not in status
    assert command == "ftdemo train full --set data=mine.jsonl"
    folder = demo.run_of(key, VISITOR)
    assert Run.load(folder).record["status"] == "completed"
    visit = demo.visits.find(key, VISITOR)
    assert visit is not None
    demo.visits.tidy(visit.used + 3601)
    assert not folder.exists()
    assert demo.visits.find(key, VISITOR) is None


def test_what_follows_a_training_is_counted_as_soon_as_it_is_known_how_long_it_takes() -> None:
    demo = lab.Lab("counts", {"tiny": named("full", "tiny")})

    def finish(*_: Any) -> Iterator[str]:
        yield "Looking …"
        time.sleep(2)

    def told() -> str:
        return demo.predict_cost("tiny", {"examples": 8}, finish)

    def seconds() -> int:
        return int(re.findall(r"about (\d+) s", told())[0])

    before = seconds()
    assert "not counted" in told()
    assert "not counted" not in demo.predict_cost("tiny", {"examples": 8})
    *_, last = all_of(demo.train("tiny", {"examples": 8}, "", VISITOR, finish=finish))
    assert "With all questions it took" in last[0]
    assert "not counted" not in told()
    assert seconds() >= before + 1  # both are rounded
    *_, last = all_of(demo.train("tiny", {"examples": 8}, "", VISITOR, finish=finish))
    assert "With all that was measured it took" in last[0]


def test_what_speaks_against_good_rows_is_told_with_the_page_that_explains_it() -> None:
    rows = [{"prompt": f"{name}?", "completion": "Aye."} for name in ("Open", "Shut", "<b>", "OPEN")]
    told = own.check(None, "".join(json.dumps(row) + "\n" for row in rows))
    assert "4 rows, all of them good" in told
    assert "1 row, the same as an earlier one" in told
    assert "Line 4." in told
    assert 'href="https://ftdemo.github.io/terms/data-contamination/"' in told
    assert "4 rows, fewer than 10" in told


def test_a_packed_file_is_not_taken_from_a_visitor(tmp_path: Path) -> None:
    packed = tmp_path / "rows.jsonl"
    packed.write_bytes(gzip.compress(b'{"text": "a"}\n'))
    told = own.check(str(packed), None)
    assert "ft-error" in told
    assert "Packed files and Parquet are not taken here" in told


def test_work_that_fails_is_told_and_leaves_no_folder() -> None:
    demo = lab.Lab("fails", {"tiny": named("full", "tiny")})
    with pytest.raises(gr.Error, match=r"No data called nowhere\.jsonl"):
        all_of(demo.train("tiny", {"data": "nowhere.jsonl"}, "", VISITOR))
    visit = demo.visits.find("", VISITOR)
    assert visit is not None
    assert visit.shown is not None
    assert "No data called nowhere.jsonl" in visit.shown[0]
    assert list(visit.folder.iterdir()) == []
    visit.forget()


def test_who_comes_first_is_worked_for_first_and_the_others_are_told_how_many_are_before(tmp_path: Path) -> None:
    line, order, told = visits.Line(), [], []
    first, second, third = (line.join("here") for _ in range(3))
    stop = visits.Stop(tmp_path / "stop")

    def work(place: object, name: str) -> None:
        with line.turn(place, stop, lambda before: told.append((name, before))) as mine:
            assert mine
            order.append(name)

    later = [
        threading.Thread(target=work, args=(place, name)) for place, name in ((third, "third"), (second, "second"))
    ]
    with line.turn(first, stop, lambda before: told.append(("first", before))) as mine:
        assert mine
        for thread in later:
            thread.start()
        while len(told) < 2:
            time.sleep(0.01)
        assert order == []
    for thread in later:
        thread.join(10)
    assert order == ["second", "third"]
    assert ("third", 2) in told
    assert ("second", 1) in told


def test_who_stops_while_waiting_waits_no_longer(tmp_path: Path) -> None:
    line, stop = visits.Line(), visits.Stop(tmp_path / "stop")
    first, second = line.join("here"), line.join("here")
    with line.turn(first, visits.Stop(tmp_path / "other"), lambda _: None):
        stop.set()
        with line.turn(second, stop, lambda _: None) as mine:
            assert not mine


def test_a_flood_from_one_address_is_refused_and_others_may_still_come() -> None:
    line = visits.Line()
    for _ in range(32):
        line.join("flood")
    for _ in range(10_000):
        with pytest.raises(FtdemoError, match="from your address"):
            line.join("flood")
    line.join("somebody else")


def test_a_visit_ends_soon_after_its_page_was_closed_but_not_at_once() -> None:
    demo = lab.Lab("closes", {"tiny": named("full", "tiny")})
    visit = demo.visits.enter("", VISITOR)
    demo.visits.leave(VISITOR)
    assert visit.left is not None
    demo.visits.tidy(visit.left + 10)
    assert demo.visits.find(visit.key, None) is visit
    again = demo.visits.enter(visit.key, SimpleNamespace(session_hash="after the reload"))
    assert again is visit
    demo.visits.tidy(time.monotonic() + 200)
    assert visit.folder.exists()
    demo.visits.leave(SimpleNamespace(session_hash="after the reload"))
    demo.visits.tidy(time.monotonic() + 200)
    assert not visit.folder.exists()


def test_what_a_visitor_brings_is_checked_row_by_row_and_shown_as_text(tmp_path: Path) -> None:
    told = own.check(None, '{"prompt": "a", "completion": "b"}\n{"<script>alert(1)</script>": 1}\n[]')
    assert "<script>" not in told
    assert "pasted.jsonl:2" in told
    assert "pasted.jsonl:3" in told
    assert str(tmp_path.anchor) + "tmp" not in told
    assert "2 rows, all of them good" in own.check(None, "One.\n\nTwo.")
    assert own.check(None, " ") == ""


@pytest.mark.parametrize("example", [own.PAIRS, own.TEXTS, own.LABELS])
def test_the_example_files_to_start_from_are_good(example: Path) -> None:
    assert faults(example)[0] == []


def test_in_public_a_run_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    demo = lab.Lab("bounded", {"tiny": named("full", "tiny")})
    assert demo.recipe("tiny", {"examples": 5000}).examples == 5000
    monkeypatch.setenv("SPACE_ID", "somebody/bounded")
    assert demo.recipe("tiny", {"examples": 100}).max_steps == limits.IN_PUBLIC.steps
    with pytest.raises(FtdemoError, match="at most 2,000"):
        demo.recipe("tiny", {"examples": 5000})
    with pytest.raises(FtdemoError, match="no choice called /etc"):
        demo.recipe("/etc", {})
    large = tmp_path / "large.txt"
    large.write_text("word " * 300_000)
    with pytest.raises(FtdemoError, match="larger than 1 MB"):
        own.own_file(str(large), None)
    with pytest.raises(FtdemoError, match="longer than 1 MB"):
        own.own_file(None, "word " * 300_000)
    many = tmp_path / "many.txt"
    many.write_text("word\n\n" * 3000)
    assert own.settings(str(many), None, 8) == {"data": str(many), "examples": 2000}
    assert "The first 2,000 are used" in own.check(str(many), None)


def test_a_public_run_that_takes_too_long_is_stopped_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AT_HOME", replace(limits.AT_HOME, seconds=0.5))
    demo = lab.Lab("long", {"tiny": named("full", "tiny")})
    *_, last = all_of(demo.train("tiny", {"sample_prompts": 2, "epochs": 50}, "", VISITOR))
    assert "Stopped early" in last[0]
    assert Run.load(demo.run_of(last[-1], VISITOR)).record["status"] == "stopped"


def test_the_time_that_is_told_before_grows_with_what_is_asked_for() -> None:
    usual = named("full", "tiny")
    few, many = (session.expected(usual.with_settings({"examples": n})) for n in (40, 400))
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
    assert list(lab.models_for("cpu")) == ["tiny", "smollm2"]
    assert list(lab.models_for("cuda"))[:2] == ["tiny", "smollm2"]
    assert "HuggingFaceTB/SmolLM2-1.7B-Instruct" in lab.models_for("cuda")
