"""The messages of routing are as their card says: balanced, unlike one another, and none of them a copy."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from ftdemo.data.builtin import BUILT_IN
from ftdemo.data.near_duplicates import NearDuplicates

SET = BUILT_IN["routing"]
CARD = SET.card.read_text(encoding="utf-8")
TEAMS = ("delivery", "returns", "warranty", "payments", "advice", "account", "website", "business")


def read(split: str) -> list[tuple[str, str]]:
    rows = map(json.loads, (SET.folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines())
    return [(row["text"], row["label"]) for row in rows]


ALL = read("train") + read("heldout")


@pytest.mark.parametrize(("split", "each"), [("train", 64), ("heldout", 20)])
def test_every_eight_examples_have_one_of_each_team(split: str, each: int) -> None:
    labels = [label for _, label in read(split)]
    assert Counter(labels) == dict.fromkeys(TEAMS, each)
    assert all(sorted(labels[start : start + 8]) == sorted(TEAMS) for start in range(0, len(labels), 8))
    assert f"| {8 * each} | {each} |" in CARD


def test_the_card_explains_every_team_and_shows_an_example_that_is_there() -> None:
    assert re.findall(r"^\| `(\w+)` \| [^`]", CARD, re.MULTILINE) == list(TEAMS)
    (shown,) = re.findall(r"```json\n(.*)\n```", CARD)
    assert shown in SET.train.read_text(encoding="utf-8")


def test_no_message_occurs_twice_or_nearly_so() -> None:
    assert len({" ".join(text.casefold().split()) for text, _ in ALL}) == len(ALL)
    seen = NearDuplicates()
    for number, (text, _) in enumerate(ALL):
        seen.add(number, text)
    assert seen.repeated() == []


def test_lengths_and_order_numbers_are_as_the_card_says() -> None:
    words = [len(text.split()) for text, _ in ALL]
    assert sum(count < 8 for count in words) / len(ALL) == pytest.approx(0.13, abs=0.005)
    assert sum(8 <= count <= 30 for count in words) / len(ALL) == pytest.approx(0.5, abs=0.005)
    numbered = sum(bool(re.search(r"(?<!\d)\d{5}(?!\d)", text)) for text, _ in ALL)
    assert numbered / len(ALL) == pytest.approx(1 / 3, abs=0.01)
