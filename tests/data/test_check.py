"""What is said of a file before anything is trained on it."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ftdemo.cli.main import main
from ftdemo.data.check import Finding, Report, check_file
from ftdemo.data.pii import find_pii
from ftdemo.errors import DataError, StorageError, UsageError
from ftdemo.models.load import load_tokenizer, resolve

GUIDE = Path(__file__).parents[2] / "docs/guides/your-own-data.md"


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(resolve("tiny"))


def written(folder: Path, rows: list[Any], name: str = "messages.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pair(asked: str, answered: str = "Aye.") -> dict[str, str]:
    return {"prompt": asked, "completion": answered}


def many(count: int) -> list[Any]:
    """Rows that nothing speaks against: no two have the same letters."""
    return [pair(f"Is {chr(97 + n // 26)}{chr(97 + n % 26)} in the shed?") for n in range(count)]


def found(report: Report) -> dict[str, Finding]:
    return {finding.name: finding for finding in report.findings}


def test_nothing_is_found_in_rows_that_nothing_speaks_against(tmp_path: Path, tokenizer: Any) -> None:
    report = check_file(written(tmp_path, many(120)), tokenizer, model="tiny")
    assert (report.rows, report.good, report.findings) == (120, 120, [])
    assert report.shapes == {"`prompt` and `completion`": 120}
    assert report.tokens == sum(length * rows for length, rows in report.lengths.items())
    assert sum(rows for *_, rows in report.histogram()) == 120


def test_each_finding_names_its_lines(tmp_path: Path, tokenizer: Any) -> None:
    rows = [
        *many(100),
        pair("is  AA in the shed?", "aye."),  # 101: as line 1
        pair("Is ab in the shed, 2?"),  # 102: as line 2 but for a number
        pair("Is ac in the shed?", "No."),  # 103: as line 3 asks
        pair("Where?", "far " * 600),  # 104
        pair("far " * 600, "Where?"),  # 105
        pair("So?", "Aye.<|im_end|>"),  # 106
        pair("Whom?", "AKIA" + "ABCDEFGH" * 2),  # 107: in capitals, as such keys are
        {"prompt": "Alone"},  # 108
        [],  # 109
        {"text": "of another kind"},  # 110
    ]
    report = check_file(written(tmp_path, rows), tokenizer, model="tiny")
    assert {name: finding.rows for name, finding in found(report).items()} == {
        "bad": [108, 109, 110],
        "control_tokens": [106],
        "nothing_left": [105],
        "cut": [104],
        "duplicates": [101],
        "near_duplicates": [102],
        "contradictions": [103],
        "personal": [107],
    }
    assert (report.rows, report.good) == (110, 107)
    assert found(report)["bad"].examples[1] == "this is a list, but a JSON object is expected."
    assert all((GUIDE.parents[1] / f"{f.page.partition('#')[0].rstrip('/')}.md").exists() for f in report.findings)


@pytest.mark.parametrize("more", [{}, {"label": "in"}])
def test_a_control_token_is_found_in_every_kind_of_row(tmp_path: Path, tokenizer: Any, more: dict[str, str]) -> None:
    rows = [{"text": text, **more} for text in ("Aye.", "Aye.<|im_end|>", "No.")]
    assert found(check_file(written(tmp_path, rows), tokenizer, model="tiny"))["control_tokens"].rows == [2]


def test_of_many_rows_the_first_lines_are_named_and_all_are_counted(tmp_path: Path, tokenizer: Any) -> None:
    report = check_file(written(tmp_path, [pair("Is it in?")] * 1000), tokenizer, model="tiny")
    twice = found(report)["duplicates"]
    assert (twice.count, twice.rows) == (999, list(range(2, 12)))


def test_rows_to_judge_by_that_are_trained_on_are_found(tmp_path: Path, tokenizer: Any) -> None:
    rows = many(120)
    judged_by = written(tmp_path, [*rows[50:52], pair("Is it new?")], "heldout.jsonl")
    report = check_file(written(tmp_path, rows), tokenizer, model="tiny", against=judged_by)
    assert found(report)["overlap"].rows == [51, 52]


@pytest.mark.parametrize(
    ("labels", "name", "count"),
    [(["in"] * 120, "one_label", 120), (["in"] * 100 + ["out"] * 20, "one_sided_labels", 100)],
)
def test_labels_that_tell_little_apart_are_pointed_out(
    tmp_path: Path, tokenizer: Any, labels: list[str], name: str, count: int
) -> None:
    rows = [{"text": row["prompt"], "label": label} for row, label in zip(many(120), labels, strict=True)]
    report = check_file(written(tmp_path, rows), tokenizer, model="tiny")
    assert {finding.name: finding.count for finding in report.findings} == {name: count}


@pytest.mark.parametrize(("rows", "name"), [(9, "too_few_to_judge"), (10, "few"), (99, "few"), (100, None)])
def test_it_says_where_there_are_few_rows(tmp_path: Path, tokenizer: Any, rows: int, name: str | None) -> None:
    report = check_file(written(tmp_path, many(rows)), tokenizer, model="tiny")
    assert list(found(report)) == ([name] if name else [])


def test_lengths_are_counted_in_bins_that_double(tmp_path: Path) -> None:
    lengths = {1: 2, 16: 1, 17: 4, 300: 1}
    report = Report("a", "tiny", 512, rows=8, good=8, lengths=lengths)
    assert report.histogram() == [(1, 16, 3), (17, 32, 4), (33, 64, 0), (65, 128, 0), (129, 256, 0), (257, 512, 1)]
    assert report.median_length() == 17
    assert Report("a", "tiny", 512).histogram() == []


def test_a_texts_length_is_no_fault(tmp_path: Path, tokenizer: Any) -> None:
    names = [f"{first}{second}" for first in "abcdefghij" for second in "klmnopqrst"]
    rows = [{"text": " ".join(f"{name}{word}" for word in "uvwxyz" * 100)} for name in names]
    assert check_file(written(tmp_path, rows), tokenizer, model="tiny").findings == []


@pytest.mark.parametrize(
    ("text", "kind", "masked"),
    [
        ("write to maren.holt@example.com, please", "e-mail address", "ma…om"),
        ("call +44 20 7946 0958.", "telephone number", "+4…58"),
        ("4111 1111 1111 1111 is mine", "card number", "41…11"),
        ("to GB33BUKB20201555555555 today", "bank account", "GB…55"),
        ("use sk-proj-abcdefghijklmnopqrstuvwx", "key or password", "sk…wx"),
        ("-----BEGIN RSA PRIVATE KEY-----", "key or password", "--…--"),
    ],
)
def test_what_looks_personal_is_found_and_shown_masked(text: str, kind: str, masked: str) -> None:
    assert [tuple(found) for found in find_pii(text)] == [(kind, masked)]


@pytest.mark.parametrize(
    "text",
    [
        "parcel 4111 1111 1111 1112 is lost",  # the check digit is wrong
        "0000 0000 0000 0000",
        "GB34BUKB20201555555555",
        "3 + 4 = 7, and 10 @ 2 each",
        "call 7946 at 12:30 on 2026-11-26",
        "the sk-y is blue",
    ],
)
def test_what_only_resembles_it_is_let_be(text: str) -> None:
    assert list(find_pii(text)) == []


def test_a_program_gets_it_all_as_json(tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl.gz"
    path.write_bytes(gzip.compress(written(tmp_path, many(120)).read_bytes()))
    done = CliRunner().invoke(main, ["check-data", str(path), "--json"])
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert (report["rows"], report["good"], report["findings"]) == (120, 120, [])
    assert report["tokens_a_row"]["shortest"] <= report["tokens_a_row"]["median"] <= report["tokens_a_row"]["longest"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        ("", "the file is empty"),
        ('[{"text": "a"},', "here the list ends too early"),
    ],
)
def test_a_file_that_cannot_be_read_on_ends_in_two_lines(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "messages.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    done = CliRunner().invoke(main, ["check-data", str(path)])
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@given(content=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_file_holds_it_is_reported_on_or_refused(tmp_path: Path, tokenizer: Any, content: bytes) -> None:
    path = tmp_path / "messages.jsonl"
    path.write_bytes(content)
    try:
        report = check_file(path, tokenizer, model="tiny")
    except DataError:
        return
    assert report.rows == report.good + (found(report)["bad"].count if "bad" in found(report) else 0)


def test_a_file_is_not_held_while_it_is_checked(tmp_path: Path, tokenizer: Any) -> None:
    """600 bytes per row are allowed: hashes in sets, 128 bytes for near-duplicates and their sorting, and no text."""
    words = [f"the{first}and{second}" for first in "abcdefghij" for second in "klmnopqrst"]
    rows = [{"text": " ".join(random.Random(row).choices(words, k=120))} for row in range(1200)]
    path = written(tmp_path, rows)
    check_file(written(tmp_path, rows[:20], "few.jsonl"), tokenizer, model="tiny")  # imports what it needs
    tracemalloc.start()
    check_file(path, tokenizer, model="tiny")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1200 * 600 < path.stat().st_size


def test_a_cleaned_copy_does_without_what_cannot_be_trained_on_and_lists_it(tmp_path: Path, tokenizer: Any) -> None:
    rows: list[Any] = [*many(100), *many(2), {"prompt": "Alone"}, pair("So?", "<|im_end|>"), pair("far " * 600)]
    rows[4]["kept"] = "as it stands"
    path = written(tmp_path, rows)
    content = path.read_bytes()
    out = tmp_path / "clean.jsonl"
    report = check_file(path, tokenizer, model="tiny", fix=out)
    assert report.left_out == 5
    assert [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] == rows[:100]
    log = (tmp_path / "clean.jsonl.changes.txt").read_text(encoding="utf-8").splitlines()
    assert [line.partition(",")[0] for line in log] == [f"line {number}" for number in range(101, 106)]
    assert "the same as an earlier one" in log[0]
    assert path.read_bytes() == content
    assert not [f for f in check_file(out, tokenizer, model="tiny").findings if f.name not in ("few",)]
    with pytest.raises(UsageError, match=r"clean\.jsonl already exists"):
        check_file(path, tokenizer, model="tiny", fix=out)


TOOLS = [{"type": "function", "function": {"name": "find", "description": "Finds a thing.", "parameters": {}}}]


@pytest.mark.parametrize(
    ("keys", "finding", "says"),
    [
        ({"images": ["lamp.png"]}, "unread_images", "which has no effect on training"),
        ({"rejected": "No."}, "unread_rejected", "which has no effect on training"),
        ({"label": False}, "unread_label", "which has no effect on training"),
        ({"tools": TOOLS}, "unread_tools", "which the chat template of tiny leaves out"),
    ],
)
def test_a_key_that_carries_meaning_and_is_not_read_is_named(
    tmp_path: Path, tokenizer: Any, keys: dict[str, Any], finding: str, says: str
) -> None:
    report = check_file(written(tmp_path, [*many(100), many(101)[100] | keys]), tokenizer, model="tiny")
    (key,) = keys
    assert found(report).keys() == {finding}
    assert found(report)[finding].rows == [101]
    assert f"`{key}`, {says}" in found(report)[finding].says


def test_without_a_tokenizer_keys_that_only_some_templates_render_are_named(tmp_path: Path) -> None:
    report = check_file(written(tmp_path, [*many(100), many(101)[100] | {"tools": TOOLS}]))
    assert found(report).keys() == {"unread_tools"}
    assert "only some models read" in found(report)["unread_tools"].says


def test_a_key_of_a_turn_that_the_template_leaves_out_is_named(tmp_path: Path, tokenizer: Any) -> None:
    call = {"function": {"name": "find", "arguments": "{}"}}
    turns: list[dict[str, Any]] = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "There."}]
    beside = [turns[0], turns[1] | {"tool_calls": [call], "reasoning_content": "It is there.", "id": 7}]
    alone = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    path = written(tmp_path, [{"messages": beside}, {"messages": alone}, *many(100)])
    report = check_file(path, tokenizer, model="tiny", fix=tmp_path / "clean.jsonl")
    named = {name: finding.rows for name, finding in found(report).items()}
    assert named == {"empty_calls": [2], "unread_tool_calls": [1, 2], "unread_reasoning_content": [1]}
    assert report.left_out == 1


@pytest.mark.parametrize(
    "keys", [{"images": ["lamp.png"]}, {"tools": TOOLS}, {"system": "Be brief."}, {"history": [["So?", "Aye."]]}]
)
def test_rows_that_differ_in_a_key_that_carries_meaning_are_not_equal(
    tmp_path: Path, tokenizer: Any, keys: dict[str, Any]
) -> None:
    rows = [pair("Is it in the shed?") | keys, pair("Is it in the shed?"), pair("Is it in the shed?") | keys]
    report = check_file(written(tmp_path, rows), tokenizer, model="tiny", fix=tmp_path / "clean.jsonl")
    assert found(report)["duplicates"].rows == [3]
    assert "contradictions" not in found(report)


def test_rows_that_differ_in_what_is_trained_are_not_equal(tmp_path: Path, tokenizer: Any) -> None:
    turns = [{"role": role, "content": text} for role, text in zip(["user", "assistant"] * 2, "abcd", strict=True)]
    rows = [{"messages": turns}, {"messages": [turns[0], turns[1] | {"weight": 0}, *turns[2:]]}]
    report = check_file(written(tmp_path, rows), tokenizer, model="tiny", fix=tmp_path / "clean.jsonl")
    assert report.left_out == 0


def test_a_key_of_another_shape_is_listed_too(tmp_path: Path) -> None:
    report = check_file(written(tmp_path, [row | {"input": "a", "instruction": "b"} for row in many(100)]))
    assert report.other_keys == {"input": 100, "instruction": 100}


def test_a_key_that_nothing_reads_is_listed_since_it_may_be_misspelt(tmp_path: Path, tokenizer: Any) -> None:
    rows = [row | {"constraint": {"max_words": 4}, "id": None, "system": ""} for row in many(100)]
    path = written(tmp_path, rows)
    report = check_file(path, tokenizer, model="tiny")
    assert (report.other_keys, report.findings) == ({"constraint": 100}, [])
    assert "Unused keys: constraint 100" in CliRunner().invoke(main, ["check-data", str(path)]).output


def test_a_conversation_that_the_assistant_begins_is_pointed_out(tmp_path: Path, tokenizer: Any) -> None:
    turns = [{"role": role, "content": role} for role in ("assistant", "user", "assistant")]
    report = check_file(written(tmp_path, [*many(100), {"messages": turns}]), tokenizer, model="tiny")
    assert {name: finding.rows for name, finding in found(report).items()} == {"assistant_begins": [101]}


def test_labels_that_look_wrong_are_pointed_out(tmp_path: Path, tokenizer: Any) -> None:
    labels = ["1", "1.0", "1.0", "Refund", "refund ", "refund ", "NaN", "None", *["1", "Refund"] * 60]
    rows = [{"text": row["prompt"], "label": label} for row, label in zip(many(128), labels, strict=True)]
    heldout = written(tmp_path, [{"text": "Is it?", "label": label} for label in ("1", "return")], "heldout.jsonl")
    report = check_file(written(tmp_path, rows), tokenizer, model="tiny", against=heldout)
    assert {name: (finding.count, finding.rows) for name, finding in found(report).items()} == {
        "missing_labels": (2, [7, 8]),
        "single_labels": (2, [7, 8]),
        "similar_labels": (2, [2, 5]),
        "unknown_labels": (1, []),
    }
    assert found(report)["unknown_labels"].examples == ["label 'return'"]
    assert found(report)["similar_labels"].examples == ["labels '1' and '1.0'", "labels 'Refund' and 'refund '"]


def test_a_copy_is_not_written_in_part(tmp_path: Path, tokenizer: Any) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"text": "a"}, {"text": ', encoding="utf-8")
    with pytest.raises(DataError, match="the list ends too early"):
        check_file(path, tokenizer, model="tiny", fix=tmp_path / "clean.jsonl")
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(UsageError, match=r"cannot be written: .*rows\.json is a file, not a folder"):
        check_file(path, tokenizer, model="tiny", fix=path / "clean.jsonl")
    with pytest.raises(StorageError, match="File name too long"):
        check_file(path, tokenizer, model="tiny", fix=tmp_path / ("n" * 300))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", '{"Question": "Open?", "reply": "Aye."}\n'),
        ("rows.json", '[{"Question": "Open?", "reply": "Aye."}]'),
        ("rows.csv", "Question,Reply\nOpen?,Aye.\n"),
    ],
)
def test_columns_with_names_of_their_own_are_mapped(tmp_path: Path, name: str, content: str) -> None:
    path, out = tmp_path / name, tmp_path / "clean.jsonl"
    path.write_text(content, encoding="utf-8")
    mapped = ["--map", "prompt=Question", "--map", "completion=reply"]
    done = CliRunner().invoke(main, ["check-data", str(path), *mapped, "--fix", str(out)])
    assert done.exit_code == 0, done.output
    assert "clean.jsonl: 1 kept, 0 left out" in done.stdout
    assert json.loads(out.read_text(encoding="utf-8")) == {"prompt": "Open?", "completion": "Aye."}


@pytest.mark.parametrize("mapped", ["question", "prompt=", "colour=Question"])
def test_a_map_that_says_nothing_is_refused(tmp_path: Path, mapped: str) -> None:
    done = CliRunner().invoke(main, ["check-data", str(written(tmp_path, many(1))), "--map", mapped])
    assert done.exit_code == 2
    assert f"--map {mapped} is not of the form KEY=COLUMN" in done.stderr


def test_half_a_letter_under_a_key_that_is_not_ours_is_copied(tmp_path: Path, tokenizer: Any) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "note": "\\ud83d"}\n', encoding="utf-8")
    check_file(path, tokenizer, model="tiny", fix=tmp_path / "clean.jsonl")
    assert (tmp_path / "clean.jsonl").read_text(encoding="utf-8") == path.read_text(encoding="utf-8")
