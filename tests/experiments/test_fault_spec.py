"""The collection of runs with planted faults: it can be read, and each fault is really planted."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from served import ROOT

from ftdemo.data import Splits, load_splits
from ftdemo.data.tokenize import Example, Examples
from ftdemo.errors import DataError, RecipeError
from ftdemo.experiments.fault_spec import CASES, FaultCases, Symptom, find_fault_cases
from ftdemo.experiments.planted import SpoiledRows, invert_masks, joined_text, spoil, write_rows
from ftdemo.recipe import Recipe

SPEC = find_fault_cases(ROOT / "docs" / "experiments")["find-the-fault"].spec
RUNS = SPEC.runs()


def splits_of(name: str) -> Splits:
    recipe = SPEC.recipe_of(RUNS[name], SPEC.source_of(RUNS[name]))
    return load_splits(recipe.data, seed=recipe.seed, examples=recipe.examples)


def rows_of(name: str) -> SpoiledRows:
    return spoil(splits_of(name), RUNS[name].rows)


def recipe_of(name: str) -> Recipe:
    return SPEC.recipe_of(RUNS[name], "data")


def texts(lines: Any) -> list[str]:
    return [json.dumps(line, sort_keys=True) for line in lines]


def test_there_are_twelve_cases_each_with_a_cause_of_its_own_and_three_others_or_four() -> None:
    assert len(SPEC.cases) == 12
    assert {case.cause for case in SPEC.cases} == set(SPEC.causes)
    assert all(len(case.others) in (3, 4) for case in SPEC.cases)
    assert all(case.command or case.remedy for case in SPEC.cases)


def test_a_run_without_a_fault_keeps_its_examples_apart_and_different() -> None:
    rows = rows_of("healthy")
    assert not set(texts(rows.train)) & set(texts(rows.heldout))
    assert len(set(texts(rows.train))) > 0.95 * len(rows.train)
    assert recipe_of("healthy").lr == Recipe(model=recipe_of("healthy").model).lr


def test_leaked_examples_are_in_both_files_and_a_reader_can_see_one() -> None:
    rows = rows_of("leak")
    assert set(texts(rows.heldout)) <= set(texts(rows.train))
    assert rows.train[2] == rows.heldout[0]
    assert not set(texts(rows.fresh)) & set(texts(rows.train))


def test_repeated_examples_are_few_and_a_reader_can_see_one_twice() -> None:
    rows = rows_of("duplicates")
    assert len(set(texts(rows.train))) == 12
    assert len(rows.train) == 240
    assert len(set(texts(rows.train[:5]))) < 5


def test_joined_examples_have_no_end_between_them() -> None:
    rows, pairs = rows_of("stop"), rows_of("healthy").train
    first = joined_text(pairs[0]["prompt"], pairs[0]["completion"])
    assert len(rows.train) == len(pairs) / 10
    assert rows.train[0]["text"].startswith(f"{first}\n{joined_text(pairs[1]['prompt'])}")


def test_the_wrong_column_is_the_answer_and_the_ticket_is_read_by_nothing() -> None:
    rows = rows_of("column")
    assert {line["completion"] for line in rows.train} == {"open", "closed"}
    assert rows.train[0]["ticket"] == rows.shown[0]["ticket"]
    assert rows.fresh[0]["completion"].startswith("{")


def test_cut_examples_are_of_messages_that_leave_no_room() -> None:
    rows = rows_of("cut")
    assert len(rows.train) > 100
    assert min(len(line["prompt"]) for line in rows.train) >= 90
    assert recipe_of("cut").max_length < recipe_of("healthy").max_length


def test_the_settings_of_the_other_faults_are_far_from_usual() -> None:
    usual = recipe_of("healthy").lr or 0.0
    assert (recipe_of("rate-high").lr or 0.0) > 10 * usual
    assert (recipe_of("rate-low").lr or 0.0) < usual / 10
    assert recipe_of("overfitting").epochs * 10 > (recipe_of("overfitting").examples or 40) * 5
    assert RUNS["template"].asks == "bare text"
    assert RUNS["base"].base not in (None, recipe_of("base").model)


def test_an_inverted_mask_trains_what_was_only_read() -> None:
    examples = Examples()
    examples.add(Example(1, (5, 6, 7, 8), (False, False, True, True)))
    assert [example.completion_mask for example in invert_masks(examples)] == [(False, True, False, False)]


def test_written_rows_can_be_trained_on(tmp_path: Path) -> None:
    write_rows(rows_of("duplicates"), tmp_path)
    read = load_splits(str(tmp_path), seed=0)
    assert (len(read.train), len(read.heldout)) == (240, 20)


def test_a_symptom_compares_numbers_and_names_the_ones_there_are() -> None:
    symptom = Symptom(value="after", minus="before", over="before", at_least=-0.6, at_most=-0.4)
    assert symptom.is_shown({"after": 1.0, "before": 2.0})
    assert not symptom.is_shown({"after": 1.9, "before": 2.0})
    assert symptom.in_words() == "after - before / before >= -0.6 and after - before / before <= -0.4"
    with pytest.raises(DataError, match="'before'"):
        symptom.measure({"after": 1.0})


@pytest.mark.parametrize(
    ("change", "what"),
    [({"cause": "moon"}, "moon"), ({"others": {"mask": "It is."}}, "among `others`"), ({"colour": 1}, "colour")],
)
def test_a_wrong_case_is_refused(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    values = yaml.safe_load((ROOT / "docs" / "experiments" / "find-the-fault" / CASES).read_text(encoding="utf-8"))
    values["cases"][0] |= change
    (tmp_path / CASES).write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(RecipeError, match=what):
        _ = FaultCases(tmp_path).spec
