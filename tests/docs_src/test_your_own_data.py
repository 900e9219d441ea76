"""The guide's file of four messages, its folder and its rules for answers, as ftdemo reads them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from shown import SOURCES, commands, ftdemo, source

from ftdemo.data import BUILT_IN, load_splits
from ftdemo.data.constraints import satisfied

MESSAGES = [
    {"prompt": "Where is my kettle?", "completion": "It left our warehouse today."},
    {"prompt": "where is my kettle", "completion": "It left our warehouse today!"},
    {"prompt": "When do you close?", "completion": "At 6 pm. Or write to maren@example.com."},
    {"prompt": "Is the desk lamp in stock?"},
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_report_is_as_shown() -> None:
    lines = "".join(json.dumps(row) + "\n" for row in MESSAGES)
    Path("messages.jsonl").write_text(lines, encoding="utf-8")
    (words,) = commands("your-own-data/check.sh")
    assert ftdemo(words, fails=2) == source("your-own-data/check.txt")


def test_the_first_example_and_the_last_line_are_as_shown() -> None:
    shutil.copy(BUILT_IN["tickets"].train, "mine.jsonl")
    (words,) = commands("your-own-data/inspect.sh")
    printed, (first, last) = ftdemo(words), source("your-own-data/inspect.txt").split("\n\n\n")
    assert printed.startswith(f"{first}\n\n\nexample 2: ")
    assert printed.endswith(f"\n{last}")


def test_the_folder_is_one_that_ftdemo_splits_so() -> None:
    top, *names = source("your-own-data/folder.txt").split()
    Path(top).mkdir()
    for name in names:
        (Path(top) / name).write_text(source("fine-tuning/messages.jsonl"), encoding="utf-8")
    splits = load_splits(top, seed=0)
    assert (len(splits.train), len(splits.heldout)) == (1, 1)


def test_the_shown_answer_meets_its_rules() -> None:
    row = json.loads((SOURCES / "your-own-data/constraints.jsonl").read_text(encoding="utf-8"))
    assert satisfied(row["completion"], row["constraints"]) == 1
