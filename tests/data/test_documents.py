"""Documents to search in, and the facts of them that change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ftdemo.data import Text, load_splits
from ftdemo.data.check import check_file
from ftdemo.data.documents import read_documents
from ftdemo.data.rows import read_changes
from ftdemo.errors import DataError
from ftdemo.models.load import load_tokenizer, resolve


def test_a_folder_gives_the_paragraphs_of_its_text_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "b.md").write_text("# Rules\n\nShut on Sundays.\n", encoding="utf-8")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "prices.txt").write_text("A lamp costs\n12 crowns.\n\n\nA rope costs 6.", encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n")
    found = ["A lamp costs\n12 crowns.", "A rope costs 6.", "# Rules", "Shut on Sundays."]
    assert read_documents(tmp_path) == found


def test_a_folder_of_texts_is_data_to_train_on_and_to_be_checked(tmp_path: Path) -> None:
    for name in ("b.txt", "a.md"):
        parts = [f"{name}, part {number}: {'the tide ' * number}" for number in range(1, 16)]
        (tmp_path / name).write_text("\n\n".join(parts), encoding="utf-8")
    splits = load_splits(str(tmp_path), seed=0)
    assert (len(splits.train), len(splits.heldout)) == (27, 3)
    texts = [row.text for row in (*splits.train, *splits.heldout) if isinstance(row, Text)]
    assert sorted(texts) == sorted(read_documents(tmp_path))
    assert read_documents(tmp_path)[0].startswith("a.md, part 1:")
    report = check_file(tmp_path, load_tokenizer(resolve("nano")), model="nano")
    assert (report.rows, report.good) == (30, 30)


def test_a_folder_without_texts_and_rows_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a folder without any file that ends in \.txt or \.md"):
        read_documents(tmp_path)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "?", "completion": "!"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="texts to search in are expected"):
        read_documents(rows)


@pytest.mark.parametrize(
    ("old", "new"), [("A lamp costs 2.", "A lamp costs 3."), ("A lamp costs 1.", None), (None, "A lamp costs 3.")]
)
def test_a_change_has_to_name_a_sentence_of_the_documents_and_its_replacement(
    tmp_path: Path, old: object, new: object
) -> None:
    path = tmp_path / "changes.jsonl"
    path.write_text(json.dumps({"old": old, "new": new, "prompt": "?", "completion": "!"}), encoding="utf-8")
    with pytest.raises(DataError, match=r"changes\.jsonl:1: `old` should be a sentence"):
        read_changes(path, ["A lamp costs 1."])


def test_a_change_is_read_with_its_question(tmp_path: Path) -> None:
    path = tmp_path / "changes.jsonl"
    change = {"old": "A lamp costs 1.", "new": "A lamp costs 2.", "prompt": "A lamp?", "completion": "2."}
    path.write_text(json.dumps(change), encoding="utf-8")
    [(old, new, row)] = read_changes(path, ["A rope costs 6.", "A lamp costs 1."])
    assert (old, new, row.reference) == ("A lamp costs 1.", "A lamp costs 2.", "2.")
