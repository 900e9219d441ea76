"""What demos have in common, without a browser."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from ftdemo.recipe import named
from ftdemo.run import Run
from ftdemo.ui import lab, session

VISITOR: Any = SimpleNamespace(session_hash="visitor")


def test_a_file_too_short_to_hold_rows_out_is_trained_on_and_the_sentence_says_so(tmp_path: Path) -> None:
    own = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"Is it {n}?", "completion": "Aye."} for n in range(3)]
    own.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    demo = lab.Lab("short", {"tiny": named("full", "tiny")})
    *_, last = demo.train("tiny", {"data": str(own), "examples": None}, None, VISITOR)
    status, *_, folder, _download, command = last
    assert "Done: 3,049,920 of 3,049,920 weights moved" in status
    assert "held" not in status
    assert command == "ftdemo train full --set data=mine.jsonl"
    assert Run.load(Path(folder)).record["status"] == "completed"
    session.forget(folder)
    assert not Path(folder).exists()


def test_work_that_fails_is_told_and_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    demo = lab.Lab("fails", {"tiny": named("full", "tiny")})
    shown = demo.train("tiny", {"data": "nowhere.jsonl"}, None, VISITOR)
    told = [next(shown)[0] for _ in range(2)]
    assert "No data called nowhere.jsonl" in told[-1]
    with pytest.raises(gr.Error, match=r"No data called nowhere\.jsonl"):
        next(shown)
    assert list(tmp_path.iterdir()) == []
