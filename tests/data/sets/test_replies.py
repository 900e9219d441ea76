"""The replies keep to their own format, and the check tells a good reply from one with an invented figure."""

from __future__ import annotations

import json
import re
from typing import Any

from ftdemo.data.builtin import BUILT_IN
from ftdemo.data.constraints import figures_of, satisfied
from ftdemo.data.near_duplicates import NearDuplicates
from ftdemo.data.sets.replies import BANNED, PARTS

SET = BUILT_IN["replies"]
CARD = SET.card.read_text(encoding="utf-8")


def read(split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SET.folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


TRAIN, HELDOUT = read("train"), read("heldout")
ALL = TRAIN + HELDOUT


def test_every_reply_has_the_three_parts_and_the_tone() -> None:
    for row in ALL:
        lines = row["completion"].split("\n")
        assert [line.partition(" ")[0] if line[0] != "N" else line[:10] for line in lines] == list(PARTS), row
        assert len(row["completion"].split()) <= 70
        assert "!" not in row["completion"]
        assert not [phrase for phrase in BANNED if satisfied(row["completion"], {"excludes": [phrase]}) == 0], row


def test_no_reply_has_a_figure_that_its_notes_lack() -> None:
    for row in ALL:
        assert set(figures_of(row["completion"])) <= set(figures_of(row["prompt"])), row


def test_every_heldout_reply_fulfils_its_own_constraints() -> None:
    for row in HELDOUT:
        constraints = row["constraints"]
        assert satisfied(row["completion"], constraints) == 1
        assert len(constraints["contains"]) >= len(PARTS) - 1 + 2  # two labels, and at least two facts
        assert constraints["figures"] == figures_of(row["prompt"])


def test_an_invented_date_and_a_missing_fact_are_found() -> None:
    row = next(row for row in HELDOUT if "17 September" in row["completion"])
    for wrong in (
        row["completion"].replace("17 September", "18 September"),
        row["completion"].replace("Wednesday", "Thursday"),
        row["completion"].replace("£27.95", "a low price"),
        row["completion"].replace("Summary: ", "Summary: Unfortunately, "),
        row["completion"].replace("\n", " "),
    ):
        assert satisfied(wrong, row["constraints"]) < 1, wrong


def test_no_notes_occur_twice_or_nearly_so() -> None:
    seen = NearDuplicates()
    for number, row in enumerate(ALL):
        seen.add(number, row["prompt"])
    assert seen.repeated() == []


def test_the_card_counts_what_is_there_and_shows_an_example() -> None:
    assert f"| {len(TRAIN)} |" in CARD
    assert f"| {len(HELDOUT)} |" in CARD
    (shown,) = re.findall(r"```json\n(.*)\n```", CARD)
    example = json.loads(shown)
    assert example in [{key: row[key] for key in example} for row in ALL]
