"""A run is evaluated and resumed on the rows that it held out, even if its data file has changed."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ftdemo.cli.main import main
from ftdemo.data import AnyRow, Labelled, Row, Text, Turn
from ftdemo.data.row_hashes import RowHashes, TrainingRows, row_hash
from ftdemo.errors import UsageError
from ftdemo.events import Step
from ftdemo.recipe import Recipe
from ftdemo.runs.heldout import find_heldout, refuse_changed_rows
from ftdemo.runs.perform import perform
from ftdemo.runs.run import Run
from ftdemo.training.prepare import prepare
from tests.conftest import write_rows

WORDS = ("lamp", "rope", "bell", "horn", "oar", "sail", "net", "hook", "tar", "map", "coin", "boot")
ROWS: list[Any] = [
    {"prompt": f"Where is the {a} that came with the {b}?", "completion": f"Behind the front desk, by the {b}."}
    for a in WORDS
    for b in WORDS[:3]
    if a != b
]


def recipe(file: Path) -> Recipe:
    settings = {"width": 64, "layers": 1, "vocabulary": 320, "max_length": 64, "dtype": "float32"}
    return Recipe(method="scratch", data=str(file), answer_tokens=2, **settings)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a file of rows, stopped after its first step."""
    folder = tmp_path_factory.mktemp("changed")
    events = perform(recipe(write_rows(folder / "rows.jsonl", ROWS)), folder / "run")
    next(event for event in events if isinstance(event, Step))
    events.close()
    return Run.load(folder / "run")


@pytest.fixture
def file(stopped: Run) -> Any:
    path = Path(stopped.recipe.data)
    yield path
    write_rows(path, ROWS)


def contents(rows: Any) -> list[Any]:
    return [row.turns for row in rows]


def test_the_same_rows_are_found_however_the_file_is_ordered_and_whatever_was_added(stopped: Run, file: Path) -> None:
    heldout = prepare(stopped.recipe).splits.heldout
    shuffled = random.Random(0).sample(ROWS, len(ROWS))
    more = [{"prompt": f"Who is {word}?", "completion": "Nobody."} for word in WORDS]
    for rows in (ROWS, shuffled, [*more, *ROWS]):
        write_rows(file, rows)
        found = find_heldout(stopped)
        assert contents(found.rows) == contents(heldout)
        assert (found.missing, found.is_recorded) == (0, True)


def test_rows_that_are_gone_are_counted_and_nothing_is_evaluated_without_one(stopped: Run, file: Path) -> None:
    heldout = contents(find_heldout(stopped).rows)
    gone = heldout[0][0].content
    write_rows(file, [row for row in ROWS if row["prompt"] != gone])
    assert contents(find_heldout(stopped).rows) == heldout[1:]
    assert find_heldout(stopped).missing == 1
    said = CliRunner().invoke(main, ["evaluate", str(stopped.folder), "--json"])
    assert said.exit_code == 0, said.output
    assert f"1 of the {len(heldout)} examples that the run held out are missing" in said.stderr
    assert json.loads(said.stdout)["after"]["heldout"]["loss"]["rows"] == len(heldout) - 1
    write_rows(file, [{"prompt": row["prompt"], "completion": "Gone."} for row in ROWS])
    with pytest.raises(UsageError, match=rf"it contains none of the {len(heldout)} examples"):
        find_heldout(stopped)


def test_the_file_that_was_trained_on_is_evaluated_by_its_heldout_rows_alone(stopped: Run, file: Path) -> None:
    said = CliRunner().invoke(main, ["evaluate", str(stopped.folder), "--data", str(file), "--json"])
    heldout = len(find_heldout(stopped).rows)
    assert json.loads(said.stdout)["after"]["heldout"]["loss"]["rows"] == heldout
    assert f"only the {heldout} examples that it held out are used" in said.stderr


def test_a_run_is_not_resumed_on_other_rows(stopped: Run, file: Path) -> None:
    for rows, why in (
        (random.Random(0).sample(ROWS, len(ROWS)), "other examples or another order"),
        ([*ROWS, {"prompt": "Who?", "completion": "Nobody."}], "training and 3 held-out examples then"),
    ):
        write_rows(file, rows)
        with pytest.raises(UsageError, match=why):
            list(perform(stopped.recipe, stopped.folder, resume=stopped))
    assert Run.load(stopped.folder).record == stopped.record


def test_a_run_of_generated_rows_names_the_version_that_generates_them(stopped: Run) -> None:
    generated = {**stopped.record["recipe"], "data": "tickets"}
    run = Run(stopped.folder, {**stopped.record, "recipe": generated})
    with pytest.raises(UsageError, match=rf"Resume the run with ftdemo {stopped.record['versions']['ftdemo']}, which"):
        refuse_changed_rows(run, RowHashes(1, "", ()))


def test_a_run_of_an_older_version_has_its_rows_chosen_again(stopped: Run, file: Path) -> None:
    folder = shutil.copytree(stopped.folder, stopped.folder.with_name("old"))
    record = {key: value for key, value in stopped.record.items() if key != "rows"}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    old = Run.load(folder)
    assert old.row_hashes is None
    found = find_heldout(old)
    assert contents(found.rows) == contents(find_heldout(stopped).rows)
    assert not found.is_recorded
    assert list(perform(old.recipe, folder, resume=old))
    assert Run.load(folder).row_hashes == stopped.row_hashes


def test_a_rows_hash_is_of_all_that_it_holds_but_its_line() -> None:
    pair = (Turn("user", "a"), Turn("assistant", "b"))
    rows: list[AnyRow] = [
        Row(1, pair),
        Row(1, pair[::-1]),
        Row(1, (pair[0], Turn("assistant", "b", train=False))),
        Row(1, (pair[0], Turn("assistant", "b", extra=(("tool_calls", [{}]),)))),
        Row(1, pair, {"max_words": 3}),
        Row(1, pair, extra=(("images", [b"a"]),)),
        Text(1, "a"),
        Text(1, "A"),
        Labelled(1, "a", "b"),
    ]
    assert len({row_hash(row) for row in rows}) == len(rows)
    assert row_hash(Row(2, pair)) == row_hash(Row(1, pair))
    assert row_hash(Row(1, pair, {"contains": ["\ud83d"]}))  # half a surrogate pair, which UTF-8 does not have


def test_the_hashes_of_rows_are_compact_and_come_back_from_a_record() -> None:
    rows = [Text(number, f"text {number}") for number in range(60)]
    hashes = TrainingRows()
    assert list(hashes.passing(rows)) == rows
    found = hashes.with_heldout(rows)
    record = json.loads(json.dumps(found.as_dict()))
    assert RowHashes.from_dict(record) == found
    assert (record["train_rows"], len(record["heldout"])) == (60, 60 * 8 * 4 // 3)
    assert TrainingRows().with_heldout(rows).train != found.train
