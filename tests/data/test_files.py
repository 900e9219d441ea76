"""Files of rows: tables, plain texts, and what people paste."""

from __future__ import annotations

from pathlib import Path

import pytest

from ftdemo.data import Labelled, Row, Text, faults, read_rows
from ftdemo.data.files import count, suffix_of
from ftdemo.errors import DataError


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_gives_pairs_and_names_the_line_where_each_begins(tmp_path: Path) -> None:
    text = '\ufeffPrompt,completion\r\n"Open?\r\nNow?",Aye.\r\n\r\n"He said ""no""",So he did.\r\n'
    first, second = read_rows(written(tmp_path, "pairs.csv", text))
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert (first.number, first.prompt[0].content) == (2, "Open?\r\nNow?")
    assert (second.number, second.prompt[0].content, second.reference) == (5, 'He said "no"', "So he did.")


def test_a_table_with_tabs_gives_labelled_texts(tmp_path: Path) -> None:
    path = written(tmp_path, "labels.tsv", "text\tlabel\nIt broke, again.\trepair\n")
    assert read_rows(path) == [Labelled(2, "It broke, again.", "repair")]


def test_a_plain_text_is_parted_at_empty_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "book.txt", "\nOne.\nStill one.\n\n  \nTwo.\n")
    assert read_rows(path) == [Text(2, "One.\nStill one."), Text(6, "Two.")]
    assert count(path) == 2


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "question,answer\nOpen?,Aye.\n", r"a\.csv:1: no column is called completion or text"),
        ("a.csv", "prompt,completion\nOpen?\n", r"a\.csv:2: 1 cells, but 2 columns"),
        ("a.csv", 'prompt,completion\n"Open?,Aye.\n', r"a\.csv:2: the table cannot be read"),
        ("a.csv", "text,label\nIt broke.,\n", r"a\.csv:2: label is empty"),
        ("a.csv", "", r"a\.csv:1: no column"),
        ("a.txt", "\n\n", r"a\.txt: the file is empty"),
    ],
)
def test_what_is_wrong_with_a_table_or_text_is_said_with_its_line(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    with pytest.raises(DataError, match=told):
        read_rows(written(tmp_path, name, text))


def test_faults_are_gathered_row_by_row(tmp_path: Path) -> None:
    lines = ['{"prompt": "a", "completion": "b"}', "{", '{"text": 3}', "[]", '{"prompt": "a", "completion": " "}']
    path = written(tmp_path, "rows.jsonl", "\n".join(lines))
    found, good = faults(path)
    assert [fault.partition(": ")[0].rpartition(":")[2] for fault in found] == ["2", "3", "4", "5"]
    assert good == 1
    assert len(faults(path, most=2)[0]) == 2
    mixed = written(tmp_path, "mixed.jsonl", '{"text": "a"}\n{"text": "a", "label": "b"}\n')
    assert "those before are each a text" in faults(mixed)[0][0]
    assert faults(written(tmp_path, "good.jsonl", lines[0])) == ([], 1)


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ('\n{"text": "a"}', ".jsonl"),
        ("prompt,completion\na,b", ".csv"),
        ("text\tlabel\na\tb", ".tsv"),
        ("Once upon a time, in a text, there was", ".txt"),
    ],
)
def test_what_was_pasted_says_what_it_is(text: str, suffix: str) -> None:
    assert suffix_of(text) == suffix
