import gzip
import json
import os
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from ftdemo.data import BUILT_IN, AnyRow, Labelled, Row, Text, Turn, load_splits, read_rows, stream_rows
from ftdemo.errors import DataError
from ftdemo.recipe import Recipe
from ftdemo.training.prepare import prepare

GOOD = '{"prompt": "Where is my lamp?", "completion": "On the quay."}'


def _messages(*turns: tuple[Any, Any]) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "letters.jsonl"


def _write(file: Path, lines: Iterable[str]) -> Path:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def _chats(file: Path) -> list[Row]:
    """The rows of a file that holds conversations alone."""
    rows = [row for row in read_rows(file) if isinstance(row, Row)]
    assert len(rows) == len(read_rows(file))
    return rows


def _numbered(count: int) -> list[str]:
    return [json.dumps({"prompt": f"letter {n}", "completion": f"answer {n}"}) for n in range(1, count + 1)]


def test_messages_keep_their_turns_in_order(file: Path) -> None:
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Ho"), ("user", "Well?"), ("assistant", "Well.")]
    (row,) = _chats(_write(file, [_messages(*turns)]))
    assert row.messages == [{"role": role, "content": content} for role, content in turns]
    assert [turn.content for turn in row.prompt] == ["Be brief.", "Hi", "Ho", "Well?"]
    assert row.reference == "Well."


def test_prompt_and_completion_are_a_user_turn_and_an_assistant_turn(file: Path) -> None:
    (row,) = _chats(_write(file, [GOOD]))
    assert row.turns == (Turn("user", "Where is my lamp?"), Turn("assistant", "On the quay."))


def test_text_is_kept_to_the_letter(file: Path) -> None:
    text = "  Où?\n\tLà: 🚢 \u2028 "
    (row,) = _chats(_write(file, [json.dumps({"prompt": "a", "completion": text}, ensure_ascii=False)]))
    assert row.reference == text


def test_other_keys_beside_the_known_ones_do_no_harm(file: Path) -> None:
    (row,) = _chats(_write(file, ['{"id": 7, "prompt": "a", "completion": "b"}']))
    assert row.reference == "b"


def test_a_byte_order_mark_and_windows_line_ends_are_passed_over(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + f"{GOOD}\r\n\r\n{GOOD}\r\n".encode())
    assert [row.reference for row in _chats(file)] == ["On the quay.", "On the quay."]


def test_blank_lines_are_passed_over_and_rows_are_numbered_by_line(file: Path) -> None:
    rows = read_rows(_write(file, ["", GOOD, "  \t", GOOD]))
    assert [row.number for row in rows] == [2, 4]


def test_the_last_line_needs_no_line_end(file: Path) -> None:
    file.write_text(f"{GOOD}\n{GOOD}", encoding="utf-8")
    assert len(read_rows(file)) == 2


def test_a_text_is_a_row_of_its_own_kind(file: Path) -> None:
    assert read_rows(_write(file, ['{"text": " Fog.\\n"}'])) == [Text(1, " Fog.\n")]


@pytest.mark.parametrize(
    ("label", "read"), [('"refund"', "refund"), ("7", "7"), ("0", "0"), ("-1", "-1"), ("1.0", "1")]
)
def test_a_text_with_a_label_has_it_as_text(label: str, read: str, file: Path) -> None:
    assert read_rows(_write(file, [f'{{"text": "Fog.", "label": {label}}}'])) == [Labelled(1, "Fog.", read)]


def test_messages_are_a_conversation_whatever_else_the_row_holds(file: Path) -> None:
    row = json.loads(_messages(("user", "a"), ("assistant", "b"))) | {"text": "c", "label": "d"}
    assert _chats(_write(file, [json.dumps(row)]))[0].reference == "b"


ASKED, ANSWERED = Turn("user", "a"), Turn("assistant", "b")


@pytest.mark.parametrize("beside", [{"prompt": "a", "completion": "b"}, {"instruction": "a", "output": "b"}])
def test_a_system_prompt_and_a_history_beside_a_pair_come_before_it(beside: dict[str, Any], file: Path) -> None:
    row = beside | {"system": "Be brief.", "history": [["c", "d"]]}
    assert _chats(_write(file, [json.dumps(row)]))[0].turns == (
        Turn("system", "Be brief."),
        Turn("user", "c"),
        Turn("assistant", "d"),
        ASKED,
        ANSWERED,
    )


@pytest.mark.parametrize("name", ["messages", "conversations"])
def test_a_system_prompt_beside_a_conversation_comes_first(name: str, file: Path) -> None:
    keys = ("role", "content") if name == "messages" else ("from", "value")
    turns = [dict(zip(keys, turn, strict=True)) for turn in (("user", "a"), ("assistant", "b"))]
    (row,) = _chats(_write(file, [json.dumps({name: turns, "system": "Be brief."})]))
    assert row.turns == (Turn("system", "Be brief."), ASKED, ANSWERED)


@pytest.mark.parametrize("name", ["messages", "conversations"])
def test_a_history_beside_a_conversation_is_a_key_that_is_not_read(name: str, file: Path) -> None:
    keys = ("role", "content") if name == "messages" else ("from", "value")
    turns = [dict(zip(keys, turn, strict=True)) for turn in (("user", "a"), ("assistant", "b"))]
    (row,) = _chats(_write(file, [json.dumps({name: turns, "history": [["c", "d"]]})]))
    assert (row.turns, row.extra) == ((ASKED, ANSWERED), (("history", [["c", "d"]]),))


@pytest.mark.parametrize("empty", [{"system": ""}, {"system": None}, {"history": []}, {"history": None}, {"tools": []}])
def test_an_empty_key_beside_a_pair_says_nothing(empty: dict[str, Any], file: Path) -> None:
    assert _chats(_write(file, [json.dumps(json.loads(GOOD) | empty)])) == _chats(_write(file, [GOOD]))


@pytest.mark.parametrize("key", [{"weight": 0}, {"train": False}, {"loss": False}])
def test_a_turn_may_be_context_alone(key: dict[str, Any], file: Path) -> None:
    roles = ("user", "assistant", "user", "assistant")
    turns: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in zip(roles, "abcd", strict=True)]
    turns[3] |= key
    (row,) = _chats(_write(file, [json.dumps({"messages": turns})]))
    assert [turn.train for turn in row.turns] == [True, True, True, False]
    assert (row.prompt, row.reference) == (row.turns[:1], "b")


def test_a_conversation_that_the_assistant_begins_has_its_first_turn_as_context(file: Path) -> None:
    turns = [("assistant", "Hello."), ("user", "a"), ("assistant", "b")]
    with_system, without = _chats(_write(file, [_messages(("system", "c"), *turns), _messages(*turns)]))
    assert without.turns == (Turn("assistant", "Hello.", train=False), ASKED, ANSWERED)
    assert with_system.turns[1:] == without.turns
    assert with_system.begins_with_assistant


def test_a_tool_call_is_kept_with_its_arguments_as_an_object(file: Path) -> None:
    call = {"type": "function", "function": {"name": "find", "arguments": '{"what": "lamp"}'}}
    turns = [
        {"role": "user", "content": "Where is my lamp?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "", "tool_call_id": "1"},
        {"role": "assistant", "content": "On the quay.", "reasoning_content": "It is there."},
    ]
    tools = [{"type": "function", "function": {"name": "find"}}]
    first, second = _chats(
        _write(file, [json.dumps({"messages": turns, "tools": form}) for form in (tools, json.dumps(tools))])
    )
    assert first.turns == second.turns
    assert (first.tools, second.tools) == (tools, tools)
    asked, called, found, answered = first.messages
    assert called["tool_calls"][0]["function"] == {"name": "find", "arguments": {"what": "lamp"}}
    assert (called["content"], found["content"], found["tool_call_id"]) == ("", "", "1")
    assert answered["reasoning_content"] == "It is there."
    assert asked == turns[0]


@pytest.mark.parametrize("name", ["letters.jsonl", "letters.csv", "letters.txt", "letters.parquet"])
def test_a_pipe_is_refused_before_it_is_opened(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)  # nobody writes to it, so that opening it would wait for ever
    for read in (read_rows, lambda path: load_splits(str(path), seed=0)):
        with pytest.raises(DataError, match="is a pipe or a device") as refusal:
            read(tmp_path / name)
        assert "Write them to a file first" in refusal.value.remedy


def test_a_conversation_keeps_what_its_answer_has_to_keep_to(file: Path) -> None:
    wanted = {"contains": ["lamp"], "max_words": 40}
    with_them = json.dumps({"prompt": "a", "completion": "b", "constraints": wanted})
    assert [row.constraints for row in _chats(_write(file, [GOOD, with_them]))] == [{}, wanted]


KINDS = {
    "a conversation": GOOD,
    "a text": '{"text": "Fog."}',
    "a text with a label": '{"text": "Fog.", "label": "weather"}',
}


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_rows_of_two_kinds_are_refused_at_the_first_that_differs(first: str, other: str, file: Path) -> None:
    _write(file, [KINDS[first], "", KINDS[first], KINDS[other]])
    if first == other:
        assert len(read_rows(file)) == 3
        return
    with pytest.raises(DataError) as refusal:
        read_rows(file)
    assert refusal.value.what == f"{file}:4: this example is {other}, but each before it is {first}."
    assert refusal.value.remedy == "Use the same keys in every example, or split the file in two."


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
    "list as content": (_messages(("user", [{"text": "a"}]), ("assistant", "b")), "is a list, but it should be text"),
    "null as content": (
        _messages(("user", "a"), ("assistant", None)),
        "the content of turn 2 is null, but it should be text",
    ),
    "number as completion": ('{"prompt": "a", "completion": 7}', "completion is a number, but it should be text"),
    "object as prompt": ('{"prompt": {}, "completion": "b"}', "prompt is an object, but it should be text"),
    "empty prompt": ('{"prompt": "", "completion": "b"}', "prompt is empty"),
    "empty completion": ('{"prompt": "a", "completion": " "}', "completion is empty"),
    "half a surrogate pair": ('{"prompt": "a", "completion": "\\ud83d"}', "completion"),
    "system in the middle": (
        _messages(("user", "a"), ("system", "b"), ("assistant", "c")),
        "a `system` turn may only come first",
    ),
    "two user turns": (
        _messages(("user", "a"), ("user", "b"), ("assistant", "c")),
        "turns should alternate: user, assistant",
    ),
    "assistant alone": (_messages(("assistant", "a")), "no assistant turn that follows another turn is trained"),
    "two assistant turns": (
        _messages(("assistant", "a"), ("assistant", "b")),
        "turns should alternate: user, assistant",
    ),
    "a tool that nobody called": (
        _messages(("user", "a"), ("tool", "b"), ("assistant", "c")),
        "turns should alternate: user",
    ),
    "zero-width content": (_messages(("user", "a"), ("assistant", "\u200b\u2060\ufeff")), "content of turn 2 is empty"),
    "blank letters": ('{"prompt": "a", "completion": "\u3164\u2800"}', "completion is empty"),
    "no turn trained": (
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0}]}',
        "no assistant turn that follows another turn is trained",
    ),
    "weight in between": (
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 0.5}]}',
        "the `weight` of turn 2 is 0.5, but it should be 0 or 1, or true or false",
    ),
    "a user turn to train": (
        '{"messages": [{"role": "user", "content": "a", "train": true}, {"role": "assistant", "content": "b"}]}',
        "`train` asks to train turn 1, but only the assistant's turns are trained by choice",
    ),
    "two systems": (
        json.dumps(json.loads(_messages(("system", "a"), ("user", "b"), ("assistant", "c"))) | {"system": "d"}),
        "`system` and the system turn differ",
    ),
    "system no text": ('{"prompt": "a", "completion": "b", "system": 7}', "system is a number, but it should be text"),
    "history no pairs": (
        '{"instruction": "a", "output": "b", "history": ["c"]}',
        "`history` should be a list of pairs",
    ),
    "tools no list": ('{"prompt": "a", "completion": "b", "tools": {"name": "c"}}', "`tools` should be a list of obj"),
    "tools no JSON": ('{"prompt": "a", "completion": "b", "tools": "search"}', "but it is a text that is not JSON"),
    "half a pair beside": (
        '{"prompt": "a", "completion": "b", "images": ["\\ud83d"]}',
        "`images` holds half a surrogate",
    ),
    "half a pair in a call": (
        json.dumps(
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "tool_calls": [{"function": {"name": "b", "arguments": '{"c": "\\ud83d"}'}}]},
                ]
            }
        ),
        "`tool_calls` holds half a surrogate",
    ),
    "user last": (_messages(("user", "a"), ("assistant", "b"), ("user", "c")), "the last turn is not the assistant's"),
    "system alone": (_messages(("system", "a")), "the last turn is not the assistant's"),
    "empty text": ('{"text": " "}', "text is empty"),
    "number as text": ('{"text": 7}', "text is a number, but it should be text"),
    "half a surrogate pair in a text": ('{"text": "\\ud83d"}', "text holds half a surrogate pair"),
    "empty label": ('{"text": "a", "label": ""}', "label is empty"),
    "white label": ('{"text": "a", "label": " "}', "label is empty"),
    "half a surrogate pair in a label": ('{"text": "a", "label": "\\ud83d"}', "label holds half a surrogate pair"),
    "null as label": ('{"text": "a", "label": null}', "`label` is null, but it should be a word or a whole number"),
    "true as label": ('{"text": "a", "label": true}', "is true or false, but it should be a word or a whole number"),
    "list as label": ('{"text": "a", "label": ["b"]}', "is a list, but it should be a word or a whole number"),
    "a label that is no whole number": (
        '{"text": "a", "label": 1.5}',
        "is 1.5, but it should be a word or a whole number",
    ),
    "a missing label": ('{"text": "a", "label": NaN}', "`label` is NaN, which means that it is missing"),
    "label without text": ('{"label": "a"}', "the keys are `label`"),
    "malformed constraints": (
        '{"prompt": "a", "completion": "b", "constraints": {"colour": "red"}}',
        "the constraint `colour` is unknown",
    ),
}


@pytest.mark.parametrize(("line", "cause"), BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_refused_with_file_line_and_cause(line: str, cause: str, file: Path) -> None:
    with pytest.raises(DataError) as refusal:
        read_rows(_write(file, [GOOD, "", line, GOOD]))
    assert refusal.value.what.startswith(f"{file}:3: ")
    assert cause in refusal.value.what
    assert '{"messages": [{"role": "user"' in refusal.value.remedy
    assert '{"prompt": …, "completion": …}' in refusal.value.remedy
    assert '{"text": …, "label": …}' in refusal.value.remedy


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
    [bytes(range(256)), b"\x00" * 100, GOOD.encode("utf-16-le"), GOOD.encode("cp500")],
    ids=["every byte", "zeros", "utf-16 without its mark", "a mainframe's letters"],
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
    assert refusal.value.remedy == "Write one example per line."


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named_with_the_cause(file: Path) -> None:
    _write(file, [GOOD]).chmod(0)
    with pytest.raises(DataError, match="Permission denied") as refusal:
        load_splits(str(file), seed=0)
    assert refusal.value.what.startswith(f"{file} cannot be read")


def test_a_missing_file_is_named_with_the_data_sets_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refusal:
        load_splits(str(tmp_path / "nowhere.jsonl"), seed=0)
    assert f"There is no data called {tmp_path / 'nowhere.jsonl'}" in refusal.value.what
    assert "support-voice" in refusal.value.remedy


@pytest.mark.parametrize("name", ["a\0b", "letter " * 1000])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"There is no data called|cannot be read"):
        load_splits(name, seed=0)


def test_a_folder_without_training_rows_is_refused_with_what_belongs_there(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refusal:
        load_splits(str(tmp_path), seed=0)
    assert refusal.value.what == f"{tmp_path} is a folder without any file that ends in .txt or .md."
    assert "heldout.jsonl" in refusal.value.remedy


def test_a_folder_brings_its_own_heldout_rows(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n', encoding="utf-8")
    assert load_splits(str(tmp_path), seed=0).heldout == ()
    (tmp_path / "heldout.jsonl").write_text('{"text": "three"}\n', encoding="utf-8")
    splits = load_splits(str(tmp_path), seed=0)
    assert (_texts(splits.train), _texts(splits.heldout)) == (["one", "two"], ["three"])
    assert _texts(load_splits(str(tmp_path), seed=0, examples=1).train) == ["one"]


# Splits


def _texts(rows: Iterable[AnyRow]) -> list[str]:
    """What each row says: a text, or the turns of a conversation."""
    return ["\n".join(turn.content for turn in row.turns) if isinstance(row, Row) else row.text for row in rows]


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_set_brings_its_own_heldout_rows_whatever_the_seed(name: str) -> None:
    first, second = load_splits(name, seed=0, examples=5), load_splits(name, seed=1, examples=5)
    assert first.heldout == second.heldout
    assert first.heldout
    assert len(list(first.train)) == 5


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_heldout_row_of_a_built_in_set_is_trained_on(name: str) -> None:
    splits = load_splits(name, seed=0, examples=3000)
    train, heldout = _texts(splits.train), _texts(splits.heldout)
    assert len(train) == len(splits.train)
    assert not set(train) & set(heldout)


@pytest.mark.parametrize(
    ("name", "kinds", "rows"),
    [
        ("support-voice", {Row}, 336),
        ("shop-mail", {Labelled}, 360),
        ("high-street", {Text, Row}, 20_000),
        ("tickets", {Row}, 400),
        ("replies", {Row}, 310),
        ("routing", {Labelled}, 512),
        ("handbook", {Row}, 200),
        ("high-street-lists", {Text}, 1000),
        ("high-street-tickets", {Row}, 96),
        ("high-street-requests", {Row}, 96),
        ("story-requests", {Row}, 500),
        ("ship-logs", {Row}, 120),
    ],
)
def test_a_built_in_set_has_its_kinds_of_rows_and_a_card(name: str, kinds: set[type], rows: int) -> None:
    splits = load_splits(name, seed=0)
    assert len(splits.train) == rows
    assert {type(row) for row in (*islice(splits.train, 200), *splits.heldout)} == kinds  # chats are conversations
    assert BUILT_IN[name].card.read_text(encoding="utf-8").strip()
    assert BUILT_IN[name].name == name


def test_generated_texts_follow_the_seed_and_have_no_end() -> None:
    def first(seed: int) -> list[str]:
        return _texts(islice(load_splits("high-street", seed=seed).train, 20))

    assert first(0) == first(0)
    assert not set(first(0)) & set(first(1))
    assert len(load_splits("high-street", seed=0, examples=10**9).train) == 10**9


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_the_first_generated_texts_are_the_same_however_many_are_asked_for(seed: int) -> None:
    few, more = (load_splits("high-street", seed=seed, examples=count).train for count in (10, 30))
    assert list(few) == list(more)[:10]


@pytest.mark.parametrize(("rows", "held_out"), [(5, 0), (9, 0), (10, 1), (30, 3), (1000, 60)])
def test_a_tenth_of_a_file_is_held_out_but_none_of_a_tiny_one_and_sixty_rows_at_most(
    rows: int, held_out: int, file: Path
) -> None:
    splits = load_splits(str(_write(file, _numbered(rows))), seed=0)
    assert len(splits.heldout) == held_out
    assert len(splits.train) == len(list(splits.train)) == rows - held_out


def test_every_row_of_a_file_is_in_one_split_and_in_the_files_order(file: Path) -> None:
    splits = load_splits(str(_write(file, _numbered(30))), seed=0)
    train, heldout = ([row.number for row in rows] for rows in (splits.train, splits.heldout))
    assert sorted(train + heldout) == list(range(1, 31))
    assert train == sorted(train)
    assert heldout == sorted(heldout)


def test_blank_lines_part_no_file(file: Path) -> None:
    lines = [line for row in _numbered(30) for line in (row, "", " ")]
    splits = load_splits(str(_write(file, lines)), seed=0)
    assert (len(list(splits.train)), len(splits.train), len(splits.heldout)) == (27, 27, 3)


def test_the_seed_decides_which_rows_are_held_out(file: Path) -> None:
    path = str(_write(file, _numbered(30)))
    assert load_splits(path, seed=3).heldout == load_splits(path, seed=3).heldout
    assert len({tuple(_texts(load_splits(path, seed=seed).heldout)) for seed in range(5)}) > 1


def test_examples_keeps_the_first_rows_and_the_same_heldout_rows(file: Path) -> None:
    path = str(_write(file, _numbered(30)))
    whole, few = load_splits(path, seed=0), load_splits(path, seed=0, examples=4)
    assert list(few.train) == list(whole.train)[:4]
    assert few.heldout == whole.heldout


def test_more_examples_than_rows_keeps_all(file: Path) -> None:
    splits = load_splits(str(_write(file, _numbered(5))), seed=0, examples=100)
    assert len(splits.train) == len(list(splits.train)) == 5


def test_rows_can_be_gone_through_again(file: Path) -> None:
    train = load_splits(str(_write(file, _numbered(30))), seed=0).train
    assert list(train) == list(train)


# Streams


def test_no_more_of_a_file_is_read_than_is_asked_for(file: Path) -> None:
    rows = stream_rows(_write(file, [GOOD, "no JSON"]))
    assert next(rows).number == 1
    with pytest.raises(DataError, match=f"{file}:2: not valid JSON"):
        next(rows)


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No rows are few enough to be held."""
    monkeypatch.setattr("ftdemo.data.split._HELD_BYTES", 0)


@pytest.mark.parametrize("examples", [None, 4, 100])
def test_rows_too_many_to_hold_are_split_as_held_ones_are(
    examples: int | None, file: Path, request: pytest.FixtureRequest
) -> None:
    _write(file, _numbered(30))
    (folder := file.parent / "folder").mkdir()
    for name in ("train", "heldout"):
        _write(folder / f"{name}.jsonl", _numbered(12))
    held = [load_splits(str(path), seed=0, examples=examples) for path in (file, folder)]
    request.getfixturevalue("streamed")
    for path, splits in zip((file, folder), held, strict=True):
        streamed = load_splits(str(path), seed=0, examples=examples)
        assert isinstance(splits.train, tuple)
        assert not isinstance(streamed.train, tuple)
        assert (tuple(streamed.train), streamed.heldout) == (splits.train, splits.heldout)
        assert len(streamed.train) == len(splits.train)


@pytest.mark.usefixtures("streamed")
def test_rows_too_many_to_hold_are_not_held(file: Path) -> None:
    _write(file, (json.dumps({"text": f"{number} " + "waves " * 400}) for number in range(1_500)))
    tracemalloc.start()
    splits = load_splits(str(file), seed=0)
    read = sum(1 for _ in splits.train) + len(splits.heldout)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read == 1_500
    # The file has 3.6 MB. Python holds the 60 rows to evaluate on, 0.16 MB, a row or two on their way, and, while those
    # rows are chosen, 18 bytes per row, 0.03 MB, in arrays that grow by copying themselves.
    assert peak < file.stat().st_size / 10


def test_the_memory_of_held_rows_is_counted_within_a_fifth(file: Path) -> None:
    from ftdemo.data.split import _memory

    _write(file, _numbered(2000))
    read_rows(file)  # so that what is imported on the way is not counted
    tracemalloc.start()
    rows = read_rows(file)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held / 1.2 < sum(map(_memory, rows)) < held * 1.2


def _opened(function: Callable[[], Any], folder: Path) -> Counter[str]:
    """How often each file in a folder is opened while a function runs, by anything that Python opens files with."""
    opened: Counter[str] = Counter()
    is_running = True

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if is_running and event == "open" and str(arguments[0]).startswith(str(folder)):
            opened[Path(str(arguments[0])).name] += 1

    sys.addaudithook(note)  # hooks stay for as long as the process runs
    function()
    is_running = False
    return opened


TEXTS = [
    {"text": f"{number} boats came in, and the {noun} rang."}
    for number in range(50)
    for noun in ("bell", "horn", "gong", "buoy")
]


def _jsonl(path: Path) -> None:
    _write(path, map(json.dumps, TEXTS))


def _parquet(path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(TEXTS), path)


def _folder(path: Path) -> None:
    path.mkdir()
    for name in ("train", "heldout"):
        _jsonl(path / f"{name}.jsonl")


def _folder_of_texts(path: Path) -> None:
    path.mkdir()
    for name in ("one", "two"):
        (path / f"{name}.md").write_text("\n\n".join(row["text"] for row in TEXTS), encoding="utf-8")


FORMATS: dict[str, Callable[[Path], Any]] = {
    "rows.jsonl": _jsonl,
    "rows.jsonl.gz": lambda path: path.write_bytes(gzip.compress("\n".join(map(json.dumps, TEXTS)).encode())),
    "rows.json": lambda path: path.write_text(json.dumps(TEXTS), encoding="utf-8"),
    "rows.csv": lambda path: path.write_text("text\n" + "\n".join(f'"{row["text"]}"' for row in TEXTS)),
    "rows.txt": lambda path: path.write_text("\n\n".join(row["text"] for row in TEXTS), encoding="utf-8"),
    "rows.parquet": _parquet,
    "folder": _folder,
    "texts": _folder_of_texts,
}


@pytest.mark.parametrize("name", FORMATS)
def test_preparing_a_run_opens_each_file_once(name: str, tmp_path: Path) -> None:
    FORMATS[name](tmp_path / name)
    recipe = Recipe(
        method="scratch", data=str(tmp_path / name), width=64, layers=1, vocabulary=320, max_length=64, dtype="float32"
    )
    files = {file.name for file in tmp_path.rglob("*") if file.is_file()}
    assert _opened(lambda: prepare(recipe), tmp_path) == dict.fromkeys(files, 1)


def test_a_file_that_changed_is_read_again(file: Path) -> None:
    path = str(_write(file, _numbered(3)))
    first = load_splits(path, seed=0)
    time = file.stat()
    _write(file, [row.replace("answer", "change") for row in _numbered(3)])
    os.utime(file, ns=(time.st_atime_ns, time.st_mtime_ns))  # neither its size nor its time tells that it changed
    second = load_splits(path, seed=0)
    assert first.train != second.train


def test_generated_chats_are_conversations_where_they_are_trained_on_and_texts_where_they_are_judged_by() -> None:
    splits = load_splits("high-street", seed=0, examples=400)
    rows = list(splits.train)
    assert {type(row) for row in rows} == {Row, Text}
    chats = [row for row in rows if isinstance(row, Row)]
    assert all(turn.role == ("user", "assistant")[place % 2] for row in chats for place, turn in enumerate(row.turns))
    assert {type(row) for row in splits.heldout} == {Text}
    assert splits.prompts == splits.trials
