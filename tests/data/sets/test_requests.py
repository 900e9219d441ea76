"""What the generated requests promise: answers that keep to them, and held-out ones that training never asks for."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest

from ftdemo.data import constraints
from ftdemo.data.sets.harbour_tales import score_log, score_story, ship_logs, story_requests

Pairs = Callable[..., Iterator[dict[str, Any]]]


def _some(pairs: Pairs, seed: int = 0, count: int = 200, *, heldout: bool = False) -> list[dict[str, Any]]:
    return list(islice(pairs(seed, heldout=heldout), count))


@pytest.mark.parametrize("pairs", [story_requests, ship_logs])
def test_the_same_seed_gives_the_same_pairs_and_another_seed_others(pairs: Pairs) -> None:
    assert _some(pairs) == _some(pairs)
    assert {pair["completion"] for pair in _some(pairs)}.isdisjoint(pair["completion"] for pair in _some(pairs, 1))


def test_every_story_holds_both_words_that_were_asked_for() -> None:
    for pair in _some(story_requests):
        words = pair["constraints"]["contains"]
        assert len(set(words)) == 2
        assert all(f" {word}" in pair["prompt"] for word in words)
        assert constraints.satisfied(pair["completion"], pair["constraints"]) == 1


def test_no_heldout_combination_of_words_is_asked_for_in_training_in_either_order() -> None:
    trained = {frozenset(pair["constraints"]["contains"]) for pair in _some(story_requests, count=2000)}
    heldout = {frozenset(pair["constraints"]["contains"]) for pair in _some(story_requests, 5, 500, heldout=True)}
    assert len(heldout) > 300
    assert trained.isdisjoint(heldout)


def test_every_story_tells_what_it_announces_by_its_own_score() -> None:
    assert all(score_story(pair["completion"]) == {"told": 1.0} for pair in _some(story_requests))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Hear the tale of a page of an atlas and an owl. An owl ate a page of an atlas.", 1.0),
        ("Hear the tale of a gull and a lamp. A gull slept.", 0.0),
        ("Hear the tale of a gull and a lamp.", 0.0),
        ("A gull slept. The lamp went out.", 0.0),
        ("", 0.0),
    ],
)
def test_a_story_tells_what_it_announces_if_both_things_occur_after_the_announcement(text: str, told: float) -> None:
    assert score_story(text) == {"told": told}


def test_every_log_is_one_by_its_own_score() -> None:
    assert all(score_log(pair["completion"]) == {"log": 1.0, "timed_lines": 1.0} for pair in _some(ship_logs))


@pytest.mark.parametrize(
    ("text", "log", "timed"),
    [
        ("Log of the Tern\n04:30 Left.\n05:00 Fog.\n06:10 Rain.\n07:00 Made fast.", 1.0, 1.0),
        ("Log of the Tern\n04:30 Left.\n05:00 Fog.\n06:10 Rain.", 0.0, 1.0),
        ("Log of the Tern\n04:30 Left.\n05:00 Fog.\n04:10 Rain.\n07:00 Made fast.", 0.0, 1.0),
        ("Log of the Tern\n04:30 Left.\nFog.\n06:10 Rain.\n25:00 Made fast.", 0.0, 0.5),
        ("It was Tuesday, and Nell was glad.", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_a_log_needs_a_head_and_four_timed_lines_in_order(text: str, log: float, timed: float) -> None:
    assert score_log(text) == {"log": log, "timed_lines": timed}
