"""Changed copies of a data set: what is changed, how much of it, and that nothing else is."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ftdemo.data import Labelled, Row, load_splits
from ftdemo.data.variants import write_variant

AS_IT_IS: dict[str, Any] = {"mislabel": 0.0, "repeat": 1, "per_label": None}


def labelled(folder: Path, **changes: Any) -> list[Labelled]:
    write_variant("shop-mail", folder, seed=0, examples=None, **{**AS_IT_IS, **changes})
    return [row for row in load_splits(str(folder), seed=0).train if isinstance(row, Labelled)]


def test_without_changes_the_rows_are_the_same(tmp_path: Path) -> None:
    rows = [(row.text, row.label) for row in labelled(tmp_path)]
    assert rows == [
        (row.text, row.label) for row in load_splits("shop-mail", seed=0).train if isinstance(row, Labelled)
    ]
    assert len(load_splits(str(tmp_path), seed=0).heldout) == 120


def test_mislabelled_rows_are_as_many_as_asked_for_and_each_has_another_label(tmp_path: Path) -> None:
    right = {row.text: row.label for row in labelled(tmp_path / "right")}
    wrong = [row for row in labelled(tmp_path / "wrong", mislabel=0.25) if row.label != right[row.text]]
    assert len(wrong) == 90
    assert set(right.values()) >= {row.label for row in wrong}


def test_heldout_rows_keep_their_labels(tmp_path: Path) -> None:
    labelled(tmp_path, mislabel=0.9)
    heldout = [(row.text, row.label) for row in load_splits(str(tmp_path), seed=0).heldout if isinstance(row, Labelled)]
    assert heldout == [
        (row.text, row.label) for row in load_splits("shop-mail", seed=0).heldout if isinstance(row, Labelled)
    ]


def test_so_many_rows_of_each_label_are_kept(tmp_path: Path) -> None:
    counts = Counter(row.label for row in labelled(tmp_path, per_label=3))
    assert set(counts.values()) == {3}
    assert len(counts) == 6


def test_repeated_rows_occur_that_often(tmp_path: Path) -> None:
    counts = Counter(row.text for row in labelled(tmp_path, per_label=2, repeat=4))
    assert set(counts.values()) == {4}


def test_answers_change_places_and_constraints_stay(tmp_path: Path) -> None:
    write_variant("story-requests", tmp_path, seed=1, examples=20, mislabel=0.5, repeat=1, per_label=None)
    before = [row for row in load_splits("story-requests", seed=1, examples=20).train if isinstance(row, Row)]
    after = [row for row in load_splits(str(tmp_path), seed=1).train if isinstance(row, Row)]
    changed = [(a, b) for a, b in zip(before, after, strict=True) if a.reference != b.reference]
    assert len(changed) == 10
    assert {a.reference for a, _ in changed} == {b.reference for _, b in changed}
    assert all(a.prompt == b.prompt and a.constraints == b.constraints for a, b in zip(before, after, strict=True))
