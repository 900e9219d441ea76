"""Changed copies of a data set: what is changed, how much of it, and that nothing else is."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ftdemo.data import Labelled, Row, load_splits
from ftdemo.data.variants import write_variant
from ftdemo.errors import DataError

AS_IT_IS: dict[str, Any] = {"mislabel": 0.0, "repeat": 1, "per_label": None}


def labelled(folder: Path, **changes: Any) -> list[Labelled]:
    write_variant("routing", folder, seed=0, examples=None, **{**AS_IT_IS, **changes})
    return [row for row in load_splits(str(folder), seed=0).train if isinstance(row, Labelled)]


def test_without_changes_the_rows_are_the_same(tmp_path: Path) -> None:
    rows = [(row.text, row.label) for row in labelled(tmp_path)]
    assert rows == [(row.text, row.label) for row in load_splits("routing", seed=0).train if isinstance(row, Labelled)]
    assert len(load_splits(str(tmp_path), seed=0).heldout) == 160


def test_mislabelled_rows_are_as_many_as_asked_for_and_each_has_another_label(tmp_path: Path) -> None:
    right = {row.text: row.label for row in labelled(tmp_path / "right")}
    wrong = [row for row in labelled(tmp_path / "wrong", mislabel=0.25) if row.label != right[row.text]]
    assert len(wrong) == 128
    assert set(right.values()) >= {row.label for row in wrong}


def test_heldout_rows_keep_their_labels(tmp_path: Path) -> None:
    labelled(tmp_path, mislabel=0.9)
    heldout = [(row.text, row.label) for row in load_splits(str(tmp_path), seed=0).heldout if isinstance(row, Labelled)]
    assert heldout == [
        (row.text, row.label) for row in load_splits("routing", seed=0).heldout if isinstance(row, Labelled)
    ]


def test_so_many_rows_of_each_label_are_kept(tmp_path: Path) -> None:
    counts = Counter(row.label for row in labelled(tmp_path, per_label=3))
    assert set(counts.values()) == {3}
    assert len(counts) == 8


def test_repeated_rows_occur_that_often(tmp_path: Path) -> None:
    counts = Counter(row.text for row in labelled(tmp_path, per_label=2, repeat=4))
    assert set(counts.values()) == {4}


def test_answers_change_places_and_constraints_stay(tmp_path: Path) -> None:
    write_variant("high-street-requests", tmp_path, seed=1, examples=20, mislabel=0.5, repeat=1, per_label=None)
    before = [row for row in load_splits("high-street-requests", seed=1, examples=20).train if isinstance(row, Row)]
    after = [row for row in load_splits(str(tmp_path), seed=1).train if isinstance(row, Row)]
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a.reference != b.reference]
    assert len(changed) == 10
    assert {a.reference for a, _ in changed} == {b.reference for _, b in changed}
    assert all(a.prompt == b.prompt and a.constraints == b.constraints for a, b in zip(before, after, strict=True))


def rows_of(folder: Path, part: str) -> list[Row]:
    return [row for row in getattr(load_splits(str(folder), seed=0), part) if isinstance(row, Row)]


def test_rows_of_so_many_facts_are_kept_with_the_heldout_questions_about_the_same_ones(tmp_path: Path) -> None:
    write_variant("handbook", tmp_path, seed=0, examples=None, facts=7)
    train, heldout = rows_of(tmp_path, "train"), rows_of(tmp_path, "heldout")
    answers = {row.reference for row in train}
    assert len(answers) == 7
    assert answers == {row.reference for row in heldout}
    assert (len(train), len(heldout)) == (14, 14)
    assert all(row.constraints for row in heldout)
    write_variant("handbook", tmp_path / "fewer", seed=1, examples=None, facts=3)
    assert {row.reference for row in rows_of(tmp_path / "fewer", "train")} < answers


def test_more_facts_than_there_are_is_refused_with_their_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only 100 different answers"):
        write_variant("handbook", tmp_path, seed=0, examples=None, facts=101)


def test_a_conversation_of_several_turns_keeps_all_of_them(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": "In bay 7.", "train": False},
        {"role": "user", "content": "And the other?"},
        {"role": "assistant", "content": "In bay 9."},
    ]
    (tmp_path / "train.jsonl").write_text(json.dumps({"messages": messages}) + "\n", encoding="utf-8")
    write_variant(str(tmp_path), tmp_path / "copy", seed=0, examples=None, repeat=2)
    before, after = rows_of(tmp_path, "train"), rows_of(tmp_path / "copy", "train")
    assert [row.turns for row in after] == [before[0].turns] * 2


def test_answers_of_longer_conversations_are_not_exchanged(tmp_path: Path) -> None:
    turns = [("system", "Be brief."), ("user", "Where?"), ("assistant", "Here.")]
    line = json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]})
    (tmp_path / "train.jsonl").write_text(f"{line}\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match="`mislabel` exchanges answers"):
        write_variant(str(tmp_path), tmp_path / "copy", seed=0, examples=None, mislabel=1)
