import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ftdemo.data import Row, Turn, load_splits, read_rows
from ftdemo.errors import DataError

GOOD = '{"prompt": "Where is my lamp?", "completion": "On the quay."}'


def _messages(*turns: tuple[Any, Any]) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "letters.jsonl"


def _write(file: Path, lines: Iterable[str]) -> Path:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def _numbered(count: int) -> list[str]:
    return [json.dumps({"prompt": f"letter {n}", "completion": f"answer {n}"}) for n in range(1, count + 1)]


def test_messages_keep_their_turns_in_order(file: Path) -> None:
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Ho"), ("user", "Well?"), ("assistant", "Well.")]
    (row,) = read_rows(_write(file, [_messages(*turns)]))
    assert row.messages == [{"role": role, "content": content} for role, content in turns]
    assert [turn.content for turn in row.prompt] == ["Be brief.", "Hi", "Ho", "Well?"]
    assert row.reference == "Well."


def test_prompt_and_completion_are_a_user_turn_and_an_assistant_turn(file: Path) -> None:
    (row,) = read_rows(_write(file, [GOOD]))
    assert row.turns == (Turn("user", "Where is my lamp?"), Turn("assistant", "On the quay."))


def test_text_is_kept_to_the_letter(file: Path) -> None:
    text = "  Où?\n\tLà: 🚢 \u2028 "
    (row,) = read_rows(_write(file, [json.dumps({"prompt": "a", "completion": text}, ensure_ascii=False)]))
    assert row.reference == text


def test_other_keys_beside_the_known_ones_do_no_harm(file: Path) -> None:
    (row,) = read_rows(_write(file, ['{"id": 7, "prompt": "a", "completion": "b"}']))
    assert row.reference == "b"


def test_a_byte_order_mark_and_windows_line_ends_are_passed_over(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + f"{GOOD}\r\n\r\n{GOOD}\r\n".encode())
    assert [row.reference for row in read_rows(file)] == ["On the quay.", "On the quay."]


def test_blank_lines_are_passed_over_and_rows_are_numbered_by_line(file: Path) -> None:
    rows = read_rows(_write(file, ["", GOOD, "  \t", GOOD]))
    assert [row.number for row in rows] == [2, 4]


def test_the_last_line_needs_no_line_end(file: Path) -> None:
    file.write_text(f"{GOOD}\n{GOOD}", encoding="utf-8")
    assert len(read_rows(file)) == 2


BAD_LINES = {
    "no JSON": ("Dear shop, where is my lamp?", "not valid JSON"),
    "JSON broken off": ('{"prompt": "a", "comple', "not valid JSON"),
    "two objects": (GOOD + GOOD, "not valid JSON"),
    "deeply nested": ("[" * 200_000, "not valid JSON"),
    "a number too long": ('{"prompt": "a", "completion": "b", "id": ' + "9" * 5000 + "}", "not valid JSON"),
    "a list": ('["a", "b"]', "this is a list"),
    "a number": ("7", "this is a number"),
    "text": ('"a"', "this is text"),
    "null": ("null", "this is null"),
    "other keys": ('{"question": "a", "answer": "b"}', "the keys are `question`, `answer`"),
    "no keys": ("{}", "neither `messages` nor `prompt` and `completion`"),
    "half a pair": ('{"prompt": "a"}', "the keys are `prompt`"),
    "messages no list": ('{"messages": "a"}', "`messages` should be a list with at least one turn"),
    "no messages": ('{"messages": []}', "`messages` should be a list with at least one turn"),
    "turn no object": ('{"messages": ["a"]}', "turn 1 should have a `role` and a `content`"),
    "turn without content": ('{"messages": [{"role": "user"}]}', "turn 1 should have a `role` and a `content`"),
    "unknown role": (_messages(("user", "a"), ("captain", "b")), "the role 'captain' is unknown"),
    "role no text": (_messages((["user"], "a"), ("assistant", "b")), "the role ['user'] is unknown"),
    "empty content": (_messages(("user", "a"), ("assistant", "")), "the content of turn 2 is empty"),
    "white content": (_messages(("user", " \n"), ("assistant", "b")), "the content of turn 1 is empty"),
    "list as content": (_messages(("user", [{"text": "a"}]), ("assistant", "b")), "should be text, this is a list"),
    "null as content": (
        _messages(("user", "a"), ("assistant", None)),
        "the content of turn 2 should be text, this is null",
    ),
    "number as completion": ('{"prompt": "a", "completion": 7}', "completion should be text, this is a number"),
    "object as prompt": ('{"prompt": {}, "completion": "b"}', "prompt should be text, this is an object"),
    "empty prompt": ('{"prompt": "", "completion": "b"}', "prompt is empty"),
    "empty completion": ('{"prompt": "a", "completion": " "}', "completion is empty"),
    "half a surrogate pair": ('{"prompt": "a", "completion": "\\ud83d"}', "completion"),
    "system in the middle": (
        _messages(("user", "a"), ("system", "b"), ("assistant", "c")),
        "a `system` turn may only come first",
    ),
    "two user turns": (_messages(("user", "a"), ("user", "b"), ("assistant", "c")), "turns should go user, assistant"),
    "assistant first": (
        _messages(("assistant", "a"), ("user", "b"), ("assistant", "c")),
        "turns should go user, assistant",
    ),
    "user last": (_messages(("user", "a"), ("assistant", "b"), ("user", "c")), "the last turn is not the assistant's"),
    "system alone": (_messages(("system", "a")), "the last turn is not the assistant's"),
}


@pytest.mark.parametrize(("line", "cause"), BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_refused_with_file_line_and_cause(line: str, cause: str, file: Path) -> None:
    with pytest.raises(DataError) as refusal:
        read_rows(_write(file, [GOOD, "", line, GOOD]))
    assert refusal.value.what.startswith(f"{file}:3: ")
    assert cause in refusal.value.what
    assert '{"messages": [{"role": "user"' in refusal.value.remedy
    assert '{"prompt": …, "completion": …}' in refusal.value.remedy


@pytest.mark.parametrize("content", [b"", b"\n \n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_a_file_without_a_row_is_called_empty(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError) as refusal:
        read_rows(file)
    assert refusal.value.what == f"{file}: the file is empty."
    assert "messages" in refusal.value.remedy


def test_text_that_is_not_utf8_is_refused_with_line_and_byte(file: Path) -> None:
    file.write_bytes(f"{GOOD}\n".encode() + b'{"prompt": "caf\xe9", "completion": "b"}\n')
    with pytest.raises(DataError) as refusal:
        read_rows(file)
    assert refusal.value.what == f"{file}:2: byte 16 is not UTF-8."
    assert "UTF-8" in refusal.value.remedy


@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n\x00\x00", b"\x1f\x8b\x08\x00\x00", bytes(range(256)), b"\x00" * 100, GOOD.encode("utf-16")],
    ids=["png", "gzip", "every byte", "zeros", "utf-16"],
)
def test_a_binary_file_is_refused_at_its_first_line_whatever_it_is_called(content: bytes, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"not UTF-8|not valid JSON") as refusal:
        read_rows(file)
    assert refusal.value.what.startswith(f"{file}:1: ")


def test_a_line_of_a_mebibyte_is_read_and_a_longer_one_is_refused(file: Path) -> None:
    frame = len('{"prompt": "a", "completion": ""}\n')
    fits = '{"prompt": "a", "completion": "' + "b" * (2**20 - frame) + '"}'
    assert len(read_rows(_write(file, [GOOD, fits]))) == 2
    with pytest.raises(DataError) as refusal:
        read_rows(_write(file, [GOOD, fits.replace("bb", "bbb", 1)]))
    assert refusal.value.what == f"{file}:2: the line is longer than 1 MiB."
    assert refusal.value.remedy == "Write one example a line."


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named_with_the_cause(file: Path) -> None:
    _write(file, [GOOD]).chmod(0)
    with pytest.raises(DataError, match="Permission denied") as refusal:
        load_splits(str(file), seed=0)
    assert refusal.value.what.startswith(f"{file} cannot be read")


def test_a_missing_file_is_named_with_the_data_sets_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refusal:
        load_splits(str(tmp_path / "nowhere.jsonl"), seed=0)
    assert f"No data called {tmp_path / 'nowhere.jsonl'}" in refusal.value.what
    assert "support-voice" in refusal.value.remedy


@pytest.mark.parametrize("name", ["a\0b", "letter " * 1000])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"No data called|cannot be read"):
        load_splits(name, seed=0)


def test_a_folder_is_refused_with_what_to_name_instead(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refusal:
        load_splits(str(tmp_path), seed=0)
    assert refusal.value.what == f"{tmp_path} is a folder."
    assert refusal.value.remedy == "Name a JSONL file in it."


def test_a_built_in_set_brings_its_own_heldout_rows_whatever_the_seed() -> None:
    first, second = load_splits("support-voice", seed=0), load_splits("support-voice", seed=1)
    assert first == second
    assert first.train
    assert first.heldout


def _texts(rows: Iterable[Row]) -> list[str]:
    return [row.reference for row in rows]


@pytest.mark.parametrize(("rows", "held_out"), [(5, 0), (9, 0), (10, 1), (30, 3), (1000, 60)])
def test_a_tenth_of_a_file_is_held_out_but_none_of_a_tiny_one_and_sixty_rows_at_most(
    rows: int, held_out: int, file: Path
) -> None:
    splits = load_splits(str(_write(file, _numbered(rows))), seed=0)
    assert len(splits.heldout) == held_out
    assert len(splits.train) == rows - held_out


def test_every_row_of_a_file_is_in_one_split_and_in_the_files_order(file: Path) -> None:
    _write(file, _numbered(30))
    splits = load_splits(str(file), seed=0)
    both = splits.train + splits.heldout
    assert sorted(row.number for row in both) == list(range(1, 31))
    for rows in (splits.train, splits.heldout):
        assert list(rows) == sorted(rows, key=lambda row: row.number)


def test_the_seed_decides_which_rows_are_held_out(file: Path) -> None:
    path = str(_write(file, _numbered(30)))
    assert load_splits(path, seed=3) == load_splits(path, seed=3)
    assert len({tuple(_texts(load_splits(path, seed=seed).heldout)) for seed in range(5)}) > 1


def test_examples_keeps_the_first_rows_and_the_same_heldout_rows(file: Path) -> None:
    path = str(_write(file, _numbered(30)))
    whole, few = load_splits(path, seed=0), load_splits(path, seed=0, examples=4)
    assert few.train == whole.train[:4]
    assert few.heldout == whole.heldout


def test_more_examples_than_rows_keeps_all(file: Path) -> None:
    splits = load_splits(str(_write(file, _numbered(5))), seed=0, examples=100)
    assert len(splits.train) == 5
