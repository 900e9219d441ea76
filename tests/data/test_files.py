"""Files of rows: tables, plain texts, and what people paste."""

from __future__ import annotations

import codecs
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftdemo.data import Labelled, Row, Text, Turn, faults, load_splits, read_rows
from ftdemo.data.files import Broken, suffix_of
from ftdemo.data.files import values as read_values
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


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.tsv"])
@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_what_parts_a_tables_cells_is_found_out(tmp_path: Path, name: str, sign: str) -> None:
    text = f'"prompt"{sign}completion\nOpen?{sign}"Aye{sign} it is."\n'
    (row,) = read_rows(written(tmp_path, name, text))
    assert isinstance(row, Row)
    assert row.reference == f"Aye{sign} it is."


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;\r"])
def test_the_line_by_which_excel_names_the_separator_is_no_heading(tmp_path: Path, line: str) -> None:
    text = f"{line}\nprompt;completion\nOpen?;Aye, it is.\nShut?\n"
    path = written(tmp_path, "pairs.csv", text)
    assert next(read_values(path)) == (3, {"prompt": "Open?", "completion": "Aye, it is."})
    assert faults(path) == ([f"{path}:4: 1 cells, but 2 columns."], 1)


def test_a_cell_of_a_table_may_be_as_long_as_a_line(tmp_path: Path) -> None:
    long = "far " * 50_000
    (row,) = read_rows(written(tmp_path, "texts.csv", f'text\n"{long}"\n'))
    assert isinstance(row, Text)
    assert row.text == long
    endless = "\n".join(["text", "Near.", '"far', *["far " * 100_000] * 4])
    with pytest.raises(DataError, match=r"texts\.csv:3: a cell is longer than 1,048,576 characters, or its double"):
        read_rows(written(tmp_path, "texts.csv", endless))


def test_a_line_of_zero_width_characters_ends_a_paragraph(tmp_path: Path) -> None:
    assert read_rows(written(tmp_path, "book.txt", "One.\n\u200b\nTwo.\n")) == [Text(1, "One."), Text(3, "Two.")]


def test_a_table_with_tabs_gives_labelled_texts(tmp_path: Path) -> None:
    path = written(tmp_path, "labels.tsv", "text\tlabel\nIt broke, again.\trepair\n")
    assert read_rows(path) == [Labelled(2, "It broke, again.", "repair")]


def test_a_plain_text_is_parted_at_empty_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "book.txt", "\nOne.\nStill one.\n\n  \nTwo.\n")
    assert read_rows(path) == [Text(2, "One.\nStill one."), Text(6, "Two.")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "question,answer\nOpen?,Aye.\n", r"a\.csv:1: no column is called any of completion, output, text"),
        ("a.csv", "prompt,completion\nOpen?\n", r"a\.csv:2: 1 cells, but 2 columns"),
        ("a.csv", 'prompt,completion\n"Open?,Aye.\n', r"a\.csv:2: the table cannot be read"),
        ("a.csv", "text,label\nIt broke.,\n", r"a\.csv:2: label is empty"),
        ("a.csv", "", r"a\.csv:1: no column"),
        ("a.txt", "\n\n", r"a\.txt: the file is empty"),
    ],
)
def test_what_is_wrong_with_a_table_or_text_is_said_with_its_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_rows(written(tmp_path, name, text))


def test_faults_are_gathered_row_by_row(tmp_path: Path) -> None:
    lines = ['{"prompt": "a", "completion": "b"}', "{", '{"text": 3}', "[]", '{"prompt": "a", "completion": " "}']
    path = written(tmp_path, "rows.jsonl", "\n".join(lines))
    found, good = faults(path)
    assert [fault.partition(": ")[0].rpartition(":")[2] for fault in found] == ["2", "3", "4", "5"]
    assert good == 1
    assert len(faults(path, most=2)[0]) == 2
    mixed = written(tmp_path, "mixed.jsonl", '{"text": "a"}\n{"text": "a", "label": "b"}\n')
    assert "but each before it is a text" in faults(mixed)[0][0]
    assert faults(written(tmp_path, "good.jsonl", lines[0])) == ([], 1)


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ('\n{"text": "a"}', ".jsonl"),
        ("prompt,completion\na,b", ".csv"),
        ("text\tlabel\na\tb", ".tsv"),
        ("sep=;\nprompt;completion\na;b", ".csv"),
        ("sep=;\nOnce upon a time", ".txt"),
        ("Once upon a time, in a text, there was", ".txt"),
    ],
)
def test_what_was_pasted_says_what_it_is(text: str, suffix: str) -> None:
    assert suffix_of(text) == suffix


PAIR = {"prompt": "Is it open?", "completion": "Aye, until five."}
OPEN = (Turn("user", "Is it open?"), Turn("assistant", "Aye, until five."))
CHAT = [{"role": "user", "content": "Is it open?"}, {"role": "assistant", "content": "Aye, until five."}]


@pytest.mark.parametrize(
    "value",
    [
        PAIR,
        {"messages": CHAT},
        {"messages": [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in CHAT]},
        {"instruction": "Is it open?", "input": "", "output": "Aye, until five.", "text": "### Is it open? ### Aye"},
        {"instruction": "Is it open?", "output": "Aye, until five."},
        {"conversations": [{"from": "human", "value": "Is it open?"}, {"from": "gpt", "value": "Aye, until five."}]},
        {"conversations": [{"from": "user", "value": "Is it open?"}, {"from": "assistant", "value": OPEN[1].content}]},
    ],
    ids=["pair", "messages", "parts", "alpaca with its text", "alpaca", "sharegpt", "sharegpt with plain names"],
)
def test_a_conversation_is_the_same_in_every_shape_that_is_met(tmp_path: Path, value: dict[str, Any]) -> None:
    (row,) = read_rows(written(tmp_path, "rows.jsonl", json.dumps(value)))
    assert isinstance(row, Row)
    assert row.turns == OPEN


def test_what_an_instruction_is_about_follows_it_after_an_empty_line(tmp_path: Path) -> None:
    value = {"instruction": "Sum it up.", "input": "The boat was late.", "output": "Late."}
    (row,) = read_rows(written(tmp_path, "rows.jsonl", json.dumps(value)))
    assert isinstance(row, Row)
    assert row.prompt[0].content == "Sum it up.\n\nThe boat was late."


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"conversations": [{"from": "human", "value": "a"}]}, "the last turn is not the assistant's"),
        ({"conversations": [{"role": "user", "content": "a"}]}, "turn 1 should have a `from` and a `value`"),
        ({"conversations": [{"from": "observer", "value": "a"}]}, "the role 'observer' is unknown"),
        ({"instruction": "a", "input": 3, "output": "b"}, "input is a number, but it should be text"),
        ({"instruction": " ", "output": "b"}, "instruction is empty"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "turn 1 is a list, but it should be text",
        ),
        ({"messages": [{"role": "user", "content": None}]}, "the content of turn 1 is null, but it should be text"),
    ],
)
def test_what_is_wrong_with_a_shape_is_said_by_its_own_names(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"rows\.jsonl:1: .*{re.escape(message)}"):
        read_rows(written(tmp_path, "rows.jsonl", json.dumps(value)))


TEXTS = {
    "rows.jsonl": json.dumps(PAIR) + "\r\n" + json.dumps({**PAIR, "prompt": "Où? 🚢"}, ensure_ascii=False) + "\r\n",
    "rows.json": json.dumps([PAIR, {**PAIR, "prompt": "Où? 🚢"}], indent=2, ensure_ascii=False),
    "rows.csv": "prompt,completion\r\nIs it open?,Aye.\r\nOù? 🚢,Aye.\r\n",
    "rows.tsv": "instruction\toutput\nIs it open?\tAye.\nOù? 🚢\tAye.\n",
    "rows.md": "One.\n\nOù? 🚢\n",
}


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be with its mark"])
@pytest.mark.parametrize("name", TEXTS)
def test_a_file_is_read_however_it_is_encoded_and_packed(
    tmp_path: Path, name: str, encoding: str, packed: bool
) -> None:
    marked = encoding.endswith("mark")
    data = codecs.BOM_UTF16_BE + TEXTS[name].encode("utf-16-be") if marked else TEXTS[name].encode(encoding)
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(data) if packed else data)
    first, second = read_rows(path)
    assert "Où? 🚢" in (second.text if isinstance(second, Text) else second.turns[0].content)  # type: ignore[union-attr]
    assert first != second


def test_a_list_of_rows_is_told_by_its_content_and_names_the_line_of_each(tmp_path: Path) -> None:
    pretty = written(tmp_path, "rows.jsonl", json.dumps([PAIR, PAIR], indent=1))
    assert [row.number for row in read_rows(pretty)] == [2, 6]
    one_line = written(tmp_path, "rows.json", json.dumps([PAIR] * 3))
    assert [row.number for row in read_rows(one_line)] == [1, 1, 1]
    lines = written(tmp_path, "lines.json", f"{json.dumps(PAIR)}\n{json.dumps(PAIR)}\n")
    assert [row.number for row in read_rows(lines)] == [1, 2]
    assert list(read_values(written(tmp_path, "none.json", " [ ] "))) == []


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows"])
@pytest.mark.parametrize("indent", [1, 4, "\t"])
def test_objects_over_several_lines_are_rows(tmp_path: Path, name: str, indent: int | str) -> None:
    text = json.dumps({"messages": CHAT}, indent=indent)
    (row,) = read_rows(written(tmp_path, name, text))
    assert isinstance(row, Row)
    assert (row.number, row.turns) == (1, OPEN)
    lines = text.count("\n") + 1
    two = read_rows(written(tmp_path, name, f"\n{text}\n{text}\n"))
    assert [row.number for row in two] == [2, 2 + lines]


def test_a_broken_first_line_is_no_object_over_several_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "rows.jsonl", f'{{"prompt": "a",\n{json.dumps(PAIR)}\n')
    assert faults(path)[1] == 1
    broken = json.dumps(PAIR, indent=1).removesuffix("}")
    with pytest.raises(DataError, match=r"rows\.json:4: here the object ends too early"):
        read_rows(written(tmp_path, "rows.json", broken))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"text": "a"},\n{"text": "b"', r":2: here the list ends too early"),
        ('[{"text": "a"},\n{"text": "b"}', r":2: after an example there should be a comma"),
        ('[{"text": "a"}\n{"text": "b"}]', r":2: after an example there should be a comma"),
        ('[{"text": "a"},\n]', r":2: here the list ends too early"),
        ('[{"text": "a"},\n12]', r":2: this is a number, but a JSON object is expected"),
        ("[" * 100_000, r":1: here the list ends too early"),
        ('[\n{"text": "a"},\n{"text":\n"b', r":4: here the list ends too early"),
    ],
    ids=["cut off", "no end", "no comma", "no row", "a number", "too deep", "within a row"],
)
def test_what_is_wrong_with_a_list_is_said_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"rows\.json{message}"):
        read_rows(written(tmp_path, "rows.json", text))


def test_a_parquet_file_is_read_row_by_row_whatever_it_is_called(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "rows.jsonl"
    parquet.write_table(pyarrow.table({"messages": [CHAT] * 600}), path)
    rows = read_rows(path)
    assert len(rows) == 600
    assert isinstance(rows[-1], Row)
    assert (rows[-1].number, rows[-1].turns) == (600, OPEN)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="begins like a Parquet file, but cannot be read"):
        read_rows(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04\x00\x00", "is a zip archive, or a document or sheet of an office program"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is an image"),
        (b"%PDF-1.7\n", "is a PDF document"),
        (b"\x1f\x8b\x08\x00\x00", "the gzip data ends too early or is damaged"),
        (gzip.compress(b'{"text": "a"}\n' * 100, mtime=0)[:-9], "the gzip data ends too early or is damaged"),
        (gzip.compress(b"PK\x03\x04", mtime=0), "is a zip archive"),
        ('{"text": "Où?"}'.encode("utf-16")[:-1], "a part is not UTF-16"),
    ],
)
def test_what_is_no_text_is_called_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rows(path)


def _read_or_refused(path: Path) -> int | None:
    """How many rows a file has, or nothing where it is refused in words."""
    try:
        return len(read_rows(path))
    except DataError as error:
        refusal = error
    assert refusal.what.startswith(str(path)), refusal.what
    assert refusal.remedy
    return None


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt", "a.csv.gz"])
@given(
    content=st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | st.sampled_from(list(TEXTS.values())).map(str.encode)
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_it_is_read_or_refused_in_words(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    rows = _read_or_refused(path)
    if rows is not None:
        splits = load_splits(str(path), seed=0)
        assert rows == len(splits.train) + len(splits.heldout)


@pytest.mark.parametrize("name", TEXTS)
@given(data=st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_row_of_a_mangled_file_is_lost_between_the_splits(tmp_path: Path, name: str, data: Any) -> None:
    content = bytearray(TEXTS[name].encode())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place : place + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=5))
    path = tmp_path / name
    path.write_bytes(content)
    rows = _read_or_refused(path)
    if rows is not None:
        splits = load_splits(str(path), seed=0)
        assert rows == len(splits.train) + len(splits.heldout)


@given(
    values=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers()), max_size=30),
    indent=st.none() | st.integers(0, 3),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_list_gives_what_was_written_into_it(tmp_path: Path, values: list[Any], indent: int | None) -> None:
    path = written(tmp_path, "rows.json", json.dumps(values, indent=indent))
    assert [value for _, value in read_values(path)] == values


def test_a_text_under_an_unknown_ending_is_told_which_ending_texts_have(tmp_path: Path) -> None:
    for name, hinted in (("news.cor", True), ("news.jsonl", False)):
        file = tmp_path / name
        file.write_text("The tide came in.\nThe boat went out.\n", encoding="utf-8")
        found = [value.reason for _, value in read_values(file) if isinstance(value, Broken)]
        assert len(found) == 2
        assert all(("let the file's name end in .txt" in reason) == hinted for reason in found)
