"""The tickets say what their card says, and follow its rules as far as a program can tell."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import pytest

from ftdemo.data import load_splits
from ftdemo.data.builtin import BUILT_IN
from ftdemo.data.near_duplicates import NearDuplicates
from ftdemo.data.sets.tickets import CATEGORIES, FIELDS, PRODUCTS, URGENCIES, WANTS
from ftdemo.evaluation.evaluate import score
from ftdemo.events import Answer

SET = BUILT_IN["tickets"]
CARD = SET.card.read_text(encoding="utf-8")


def read(split: str) -> list[tuple[str, dict[str, Any]]]:
    rows = map(json.loads, (SET.folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines())
    return [(row["prompt"], json.loads(row["completion"])) for row in rows]


TRAIN, HELDOUT = read("train"), read("heldout")
ALL = TRAIN + HELDOUT


def test_every_ticket_has_the_five_fields_with_values_that_there_are() -> None:
    for message, ticket in ALL:
        assert tuple(ticket) == FIELDS, message
        assert ticket["category"] in CATEGORIES
        assert ticket["product"] in (*PRODUCTS, None)
        assert ticket["urgency"] in URGENCIES
        assert ticket["wants"] in WANTS


def test_the_order_number_is_the_only_one_of_five_digits_in_its_message() -> None:
    for message, ticket in ALL:
        assert re.findall(r"(?<!\d)\d{5}(?!\d)", message) == ([ticket["order"]] if ticket["order"] else [])


def test_a_completion_is_written_as_json_writes_it() -> None:
    for line in SET.train.read_text(encoding="utf-8").splitlines():
        completion = json.loads(line)["completion"]
        assert completion == json.dumps(json.loads(completion), ensure_ascii=False)


def test_no_message_and_no_order_number_occurs_twice() -> None:
    assert len({" ".join(message.casefold().split()) for message, _ in ALL}) == len(ALL)
    numbers = [ticket["order"] for _, ticket in ALL if ticket["order"]]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize(("split", "column"), [("train", 0), ("heldout", 1)])
def test_the_card_counts_what_is_there(split: str, column: int) -> None:
    tickets = [ticket for _, ticket in read(split)]
    counted = {f"`{name}`": count for name, count in Counter(ticket["category"] for ticket in tickets).items()}
    counted["no product"] = sum(ticket["product"] is None for ticket in tickets)
    counted["no order number"] = sum(ticket["order"] is None for ticket in tickets)
    urgency = Counter(ticket["urgency"] for ticket in tickets)
    counted |= {"urgency high": urgency["high"], "urgency low": urgency["low"]}
    for name, count in counted.items():
        cells = re.search(rf"^\| {re.escape(name)} \| (\d+) \| (\d+) \|$", CARD, re.MULTILINE)
        assert cells, name
        assert int(cells[column + 1]) == count, name


def test_the_card_shows_a_row_that_is_there() -> None:
    (shown,) = re.findall(r"```json\n(.*)\n```", CARD)
    assert shown in SET.train.read_text(encoding="utf-8") + SET.heldout.read_text(encoding="utf-8")


def test_a_fifth_of_the_messages_are_short_and_a_third_begin_as_no_copy_editor_would() -> None:
    words = [len(message.split()) for message, _ in ALL]
    assert sum(count < 8 for count in words) >= len(ALL) * 0.17
    assert max(words) <= 100
    lower = sum(message[0].islower() or message.isupper() for message, _ in ALL)
    assert lower >= len(ALL) * 0.33


def test_no_heldout_message_is_a_near_copy_of_a_training_one() -> None:
    seen = NearDuplicates()
    for number, (message, _) in enumerate(ALL):
        seen.add(number, message)
    assert seen.repeated() == []


def test_each_field_of_an_answer_is_scored() -> None:
    row = load_splits("tickets", seed=0).heldout[0]
    expected = json.loads(row.reference)  # type: ignore[union-attr]
    right = Answer("", json.dumps(expected), json.dumps(expected), True)
    assert set(score(right, row, "tickets").values()) == {1.0}
    other = {**expected, "urgency": "high" if expected["urgency"] != "high" else "low"}
    wrong = score(Answer("", json.dumps(other), json.dumps(expected), True), row, "tickets")
    assert (wrong["valid_json"], wrong["fields"], wrong["all_fields"]) == (1.0, 0.8, 0.0)
    assert [wrong[field] for field in FIELDS] == [1.0, 1.0, 1.0, 0.0, 1.0]
    none = score(Answer("", "I am sorry to hear that.", json.dumps(expected), True), row, "tickets")
    assert [none[name] for name in ("valid_json", "fields", "all_fields", *FIELDS)] == [0.0] * 8
