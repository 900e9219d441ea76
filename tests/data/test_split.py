"""Rows are held out at random, each label in its share, and near-duplicates together or not at all."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftdemo.data import Labelled, Text, load_splits
from ftdemo.data.split import choose_heldout, near_duplicate_key, validation_split
from ftdemo.errors import DataError

ANY_ROWS = st.lists(st.tuples(st.sampled_from(["a", "A!", "b 1", "b 2", "1", "2", "cc", ""]), st.sampled_from("xyz")))


def test_near_duplicates_stay_together_where_a_label_keeps_its_last_row() -> None:
    assert not choose_heldout([("b 1", "x"), ("b 2", "x")], held=2, seed=0)


@given(ANY_ROWS, st.integers(0, 3), st.data())
def test_no_near_duplicate_is_in_both_splits_and_no_more_is_held_out_than_wanted(
    rows: list[tuple[str, str]], seed: int, data: st.DataObject
) -> None:
    held = data.draw(st.integers(0, len(rows)))
    chosen = choose_heldout(rows, held=held, seed=seed)
    assert len(chosen) <= held
    assert chosen <= set(range(len(rows)))
    keys = [near_duplicate_key(text) or text for text, _ in rows]
    kept = {keys[place] for place in range(len(rows)) if place not in chosen}
    assert not any(keys[place] in kept and keys.count(keys[place]) <= held for place in chosen)
    trained = {text for place, (text, _) in enumerate(rows) if place not in chosen}
    assert not trained & {rows[place][0] for place in chosen}
    assert chosen == choose_heldout(iter(rows), held=held, seed=seed)


def test_without_near_duplicates_as_many_rows_are_held_out_as_wanted_and_the_seed_decides() -> None:
    rows = [(f"{chr(97 + n // 26)}{chr(97 + n % 26)}", "") for n in range(300)]
    first, second = (choose_heldout(rows, held=30, seed=seed) for seed in (0, 1))
    assert len(first) == len(second) == 30
    assert first != second


def test_each_label_is_held_out_in_its_share() -> None:
    names = [f"{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(200)]
    rows = [(name, "rare" if place % 10 == 0 else "usual") for place, name in enumerate(names)]
    for seed in range(5):
        held = Counter(rows[place][1] for place in choose_heldout(rows, held=20, seed=seed))
        assert held == {"rare": 2, "usual": 18}


@pytest.mark.parametrize("held", [1, 5, 30])
def test_no_label_is_held_out_as_a_whole(held: int) -> None:
    rows = [
        (chr(97 + number % 26) * (1 + number // 26), f"label {number if number < 30 else number % 3}")
        for number in range(60)
    ]
    for seed in range(5):
        chosen = choose_heldout(rows, held=held, seed=seed)
        trained = {label for place, (_, label) in enumerate(rows) if place not in chosen}
        assert {label for _, label in rows} == trained
        assert 0 < len(chosen) <= held


def test_a_file_of_near_duplicates_is_split_without_a_leak(tmp_path: Path) -> None:
    file = tmp_path / "letters.jsonl"
    names = ["lamp", "rope", "stove", "net", "oar", "mug", "flag", "bell", "sail", "knife"]
    rows = [{"text": f"Order {n}: where is my {name}?"} for name in names for n in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    splits = load_splits(str(file), seed=0)
    assert len(splits.train) + len(splits.heldout) == 30
    assert len(splits.heldout) == 3
    sides = [
        {near_duplicate_key(row.text) for row in part if isinstance(row, Text)}
        for part in (splits.train, splits.heldout)
    ]
    assert not sides[0] & sides[1]


def test_rows_that_follow_one_pattern_are_told_apart_by_their_numbers() -> None:
    rows = [(f"{n} + {n % 7} = ?", "") for n in range(200)]
    assert len(choose_heldout(rows, held=20, seed=0)) == 20
    assert len(choose_heldout(rows * 2, held=20, seed=0)) == 20
    chosen = choose_heldout(rows * 2, held=20, seed=0)
    assert {place % 200 for place in chosen} == {place for place in chosen if place < 200}


def test_a_file_that_changed_is_split_again(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    for label in ("old", "new"):
        rows = [{"text": f"{chr(97 + n)}", "label": f"{label}{n % 2}"} for n in range(20)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        heldout = load_splits(str(file), seed=0).heldout
        assert {row.label for row in heldout if isinstance(row, Labelled)} == {f"{label}0", f"{label}1"}


def test_labels_may_be_as_many_as_the_rows() -> None:
    labels = ((str(number), str(number)) for number in range(2**16 + 1))
    assert not choose_heldout(labels, held=1, seed=0)  # a label's only row is trained on


def test_a_validation_split_takes_its_share_of_each_label_from_the_training_rows() -> None:
    rows = [row for row in load_splits("routing", seed=0).train if isinstance(row, Labelled)]
    split = validation_split(rows, share=0.25, seed=7, data="routing")
    assert Counter(row.label for row in split.heldout if isinstance(row, Labelled)) == {row.label: 16 for row in rows}
    assert sorted(row.number for row in (*split.train, *split.heldout)) == [row.number for row in rows]
    assert len(validation_split(rows, share=0.9, seed=7, data="routing").heldout) == 200


def test_where_each_label_has_one_row_none_can_validate() -> None:
    rows = list(load_splits("routing", seed=0, examples=8).train)
    with pytest.raises(DataError, match="of 8 training examples, none can be put aside"):
        validation_split(rows, share=0.5, seed=0, data="routing")
