"""The data of the two tasks on which approaches are compared: facts of a shop, and orders as strict JSON."""

from __future__ import annotations

import json
import re
from itertools import islice

from ftdemo.comparison.approaches import tasks
from ftdemo.data import BUILT_IN, Row, read_rows
from ftdemo.data.sets.shop_orders import INSTRUCTION, orders

SET = BUILT_IN["shop-facts"]
TRAIN, HELDOUT = ([row for row in read_rows(path) if isinstance(row, Row)] for path in (SET.train, SET.heldout))
FACTS = tasks()["facts"]


def has(text: str, words: str) -> bool:
    return re.search(rf"\b{re.escape(words)}\b", text, re.IGNORECASE) is not None


def test_every_fact_has_two_questions_to_train_on_and_another_to_judge_by() -> None:
    assert len(FACTS.documents) == len(set(FACTS.documents)) == len(HELDOUT) == 100
    assert len({row.prompt[-1].content for row in (*TRAIN, *HELDOUT)}) == 300
    for fact, row, first, second in zip(FACTS.documents, HELDOUT, TRAIN[::2], TRAIN[1::2], strict=True):
        [answer] = row.constraints["contains"]
        assert first.reference == second.reference == row.reference
        assert has(fact, answer)
        assert has(row.reference, answer)
        assert not has(row.prompt[-1].content, answer)


def test_ten_facts_change_and_the_old_answer_is_then_wrong() -> None:
    assert len(FACTS.changes) == 10
    answers = {row.prompt[-1].content: row for row in HELDOUT}
    for change in FACTS.changes:
        [now] = change.row.constraints["contains"]
        [before] = answers[change.row.prompt[-1].content].constraints["contains"]
        assert has(change.new, now)
        assert not has(change.old, now)
        assert not has(change.new, before)


def test_orders_follow_the_seed_and_say_what_their_json_says() -> None:
    first = list(islice(orders(1, heldout=False), 300))
    assert first == list(islice(orders(1, heldout=False), 300))
    assert first != list(islice(orders(2, heldout=False), 300))
    for row in first:
        order = json.loads(row["completion"])
        assert list(order) == re.findall(r'"(\w+)" \(', INSTRUCTION)
        assert order["item"] in row["prompt"].lower()
        for said in (order["colour"], order["day"]):
            assert said is None or said in row["prompt"]
    assert {json.loads(row["completion"])["quantity"] for row in first} == set(range(1, 13))
    assert any(json.loads(row["completion"])["day"] is None for row in first)


def test_heldout_orders_pair_other_items_and_colours_in_other_words() -> None:
    def pairs(rows: list[dict[str, str]]) -> set[tuple[str, str]]:
        found = [json.loads(row["completion"]) for row in rows]
        return {(order["item"], order["colour"]) for order in found}

    train, heldout = (list(islice(orders(1, heldout=part), 2000)) for part in (False, True))
    assert not pairs(train) & pairs(heldout)
    openings = [{row["prompt"].split(" ")[0] for row in rows} for rows in (train, heldout)]
    assert openings[1] - openings[0] >= {"Is", "Put"}
