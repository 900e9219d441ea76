"""Data sets from a Hub: fetched by `datasets`, from a small Hub on this machine, in a process of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ftdemo.data import hub

COMMIT = "a" * 40


def lines(word: str, count: int) -> bytes:
    names = [f"{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(count)]
    return b"".join(json.dumps({"question": f"{word} {name}?", "reply": "Aye."}).encode() + b"\n" for name in names)


CARD = {"README.md": b"---\nlicense: apache-2.0\n---\n"}
SETS = {
    "whole": {**CARD, "train.jsonl": lines("Is it", 40)},
    "parted": {**CARD, "train.jsonl": lines("Is it", 30), "test.jsonl": lines("Was it", 5)},
    "judged": {**CARD, "test.jsonl": lines("Was it", 5)},
}


class Hub(BaseHTTPRequestHandler):
    """So much of the Hub's API as `datasets` asks for."""

    def log_message(self, *_: Any) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        files: dict[str, bytes] = next((files for name, files in SETS.items() if f"/owner/{name}/" in f"{path}/"), {})
        if "/resolve/" in path and (name := path.rpartition("/")[2]) in files:
            return self._send(files[name], {"ETag": f'"{name}"'})
        if "/tree/" in path and path.endswith(COMMIT):
            found = [{"type": "file", "oid": "b" * 40, "size": len(held), "path": name} for name, held in files.items()]
            return self._send(json.dumps(found).encode())
        if "/revision/" in path and files:
            names = [{"rfilename": name} for name in files]
            info = {"id": "owner/any", "sha": COMMIT, "private": False, "gated": False, "siblings": names, "tags": []}
            return self._send(json.dumps(info).encode())
        self._send(b"{}", {"X-Error-Code": "EntryNotFound" if files else "RepoNotFound"}, status=404)

    def _send(self, body: bytes, headers: dict[str, str] | None = None, *, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


NAMES = ("--map", "prompt=question", "--map", "completion=reply")
COMMANDS = {
    "checked": ("check-data", "owner/whole", *NAMES, "--json", "--fix", "copy.jsonl"),
    "unusable": ("inspect", "owner/parted"),
    "nowhere": ("check-data", "owner/nowhere"),
    "judged": ("check-data", "owner/judged"),
}
PROCESS = """
import json, sys
from click.testing import CliRunner
from ftdemo.cli.main import main
from ftdemo.data import hub, load_splits

done = {}
for name, command in json.load(sys.stdin).items():
    result = CliRunner().invoke(main, command)
    done[name] = [result.exit_code, result.stdout, result.stderr]

iterate_rows = hub.iterate_rows
def renamed(name, **more):
    return ({"prompt": row["question"], "completion": row["reply"]} for row in iterate_rows(name, **more))

hub.iterate_rows = renamed
for name in ("owner/whole", "owner/parted"):
    splits = load_splits(name, seed=0)
    first = splits.heldout[0].prompt[0].content.split()[0]
    done[name] = [len(splits.train), len(splits.heldout), first, len(list(splits.train))]
print(json.dumps(done))
"""
"""One process for all commands, because the Hub's address is read once, when its library is imported."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def done(folder: Path) -> Any:
    """What each command left: its exit code, its output and its errors; and how each data set is split."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    variables = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": "home", "HF_HUB_OFFLINE": "0"}
    result = subprocess.run(
        [sys.executable, "-c", PROCESS],
        input=json.dumps(COMMANDS),
        env={**os.environ, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    server.shutdown()
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_a_data_set_on_the_hub_is_checked_and_copied_by_our_names(done: Any, folder: Path) -> None:
    code, output, errors = done["checked"]
    assert code == 0, errors
    assert json.loads(output)["rows"] == 40
    copied = (folder / "copy.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(copied[0]) == {"prompt": "Is it aa?", "completion": "Aye."}


def test_a_row_that_cannot_be_used_is_named_with_its_data_set(done: Any) -> None:
    code, _, errors = done["unusable"]
    assert code == 2
    assert "owner/parted:1: neither `messages` nor `prompt`" in errors
    assert "the keys are `question`, `reply`" in errors


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "There is no data called owner/nowhere: no such file here"),
        ("judged", "there is no split called train"),
    ],
)
def test_a_data_set_that_the_hub_does_not_have_is_refused(done: Any, name: str, message: str) -> None:
    code, _, errors = done[name]
    assert code == 2
    assert message in errors
    assert "Traceback" not in errors


def test_rows_of_a_test_split_are_held_out_and_else_a_tenth(done: Any) -> None:
    assert done["owner/whole"] == [36, 4, "Is", 36]
    assert done["owner/parted"] == [30, 5, "Was", 30]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("owner/rows", True), ("runs/mine.jsonl", False), ("rows", False), ("/tmp/x", False), ("a/b/c", False)],
)
def test_a_hub_id_is_an_owner_and_a_name_and_no_file(name: str, expected: bool) -> None:
    assert hub.is_id(name) == expected


def test_a_folder_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "rows").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert not hub.is_id("owner/rows")
