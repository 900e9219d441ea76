from __future__ import annotations

from typing import Any

import pytest

from ftdemo.data.constraints import Constraints, satisfied, validate_constraints, violations

ANSWER = "The tar is warm.\nStart with the lamp, madam: it's well-lit."

KEPT_AND_BROKEN: dict[str, tuple[Constraints, Constraints]] = {
    "all words are in it": ({"contains": ["lamp", "tar"]}, {"contains": ["lamp", "rope"]}),
    "a phrase is in it": ({"contains": ["the lamp"]}, {"contains": ["lamp the"]}),
    "none of the words is in it": ({"excludes": ["rope", "oar"]}, {"excludes": ["rope", "lamp"]}),
    "it begins with": ({"starts_with": "The tar"}, {"starts_with": "Tar"}),
    "it ends with": ({"ends_with": "well-lit."}, {"ends_with": "lit"}),
    "words at least": ({"min_words": 11}, {"min_words": 12}),
    "words at most": ({"max_words": 11}, {"max_words": 10}),
    "lines": ({"lines": 2}, {"lines": 1}),
}


@pytest.mark.parametrize(("kept", "broken"), KEPT_AND_BROKEN.values(), ids=KEPT_AND_BROKEN.keys())
def test_each_constraint_tells_the_answers_that_keep_it_from_others(kept: Constraints, broken: Constraints) -> None:
    assert validate_constraints(kept) == kept
    assert satisfied(ANSWER, kept) == 1.0
    assert satisfied(ANSWER, broken) == 0.0


@pytest.mark.parametrize("text", ["Tar!", "the TAR,", "(tar)", "tar's", "tar-black"])
def test_a_word_is_found_whatever_its_case_and_what_stands_around_it(text: str) -> None:
    assert satisfied(text, {"contains": ["tar"]}) == 1.0


@pytest.mark.parametrize("text", ["start", "tarn", "guitar", "tar_1", "átart", ""])
def test_a_word_is_not_found_within_another(text: str) -> None:
    assert satisfied(text, {"contains": ["tar"]}) == 0.0
    assert satisfied(text, {"excludes": ["tar"]}) == 1.0


def test_signs_in_a_word_are_only_signs() -> None:
    assert satisfied("It costs 3.50 (or so).", {"contains": ["3.50", "(or so)."]}) == 1.0
    assert satisfied("It costs 3x50.", {"contains": ["3.50"]}) == 0.0


def test_words_with_an_apostrophe_or_a_hyphen_count_once() -> None:
    assert satisfied("it's well-lit", {"min_words": 2, "max_words": 2}) == 1.0


def test_white_space_around_an_answer_does_not_count() -> None:
    around = f"\n\n  {ANSWER} \n"
    assert satisfied(around, {"starts_with": "The", "ends_with": "lit.", "lines": 2, "max_words": 11}) == 1.0


def test_an_answer_gets_the_share_that_it_keeps() -> None:
    assert satisfied(ANSWER, {"contains": ["lamp"], "lines": 2, "max_words": 5, "starts_with": "Ahoy"}) == 0.5


def test_without_constraints_all_are_kept() -> None:
    assert satisfied("", {}) == 1.0


def test_what_an_answer_does_not_fulfil_is_said_in_words() -> None:
    wanted = {"starts_with": "Summary: ", "contains": ["lamp", "£27.95"], "excludes": ["kindly"], "lines": 3}
    wanted |= {"figures": ["27.95"], "max_words": 4, "min_words": 2, "ends_with": "."}
    assert violations("Summary: a lamp.\n£27.95\nDone.", wanted | {"max_words": 9}) == []
    said = violations("We kindly send 2 mops for 9.50", wanted)
    assert said == [
        'does not start with "Summary:"',
        "missing: lamp, £27.95",
        "banned: kindly",
        "lines: 1, not 3",
        "invented: 2, 9.50",
        "8 words, more than 4",
        'does not end with "."',
    ]


def test_an_empty_answer_keeps_only_what_asks_for_nothing() -> None:
    assert satisfied("", {"contains": ["lamp"], "min_words": 1, "lines": 1, "ends_with": "."}) == 0.0
    assert satisfied("", {"excludes": ["lamp"], "max_words": 40}) == 1.0


MALFORMED: dict[str, tuple[Any, str]] = {
    "no object": (["lamp"], "constraints should be an object such as"),
    "null": (None, "constraints should be an object such as"),
    "unknown": ({"colour": "red"}, "the constraint `colour` is unknown: the constraints are contains, excludes,"),
    "text for a list": ({"contains": "lamp"}, "the constraint `contains` should be a list of words"),
    "numbers in a list": ({"excludes": ["lamp", 7]}, "the constraint `excludes` should be a list of words"),
    "list for text": ({"starts_with": ["Ahoy"]}, "the constraint `starts_with` should be text"),
    "number for text": ({"ends_with": 7}, "the constraint `ends_with` should be text"),
    "text for a number": ({"max_words": "40"}, "the constraint `max_words` should be a whole number"),
    "half a word": ({"min_words": 1.5}, "the constraint `min_words` should be a whole number"),
    "true for a number": ({"lines": True}, "the constraint `lines` should be a whole number"),
    "null for a number": ({"lines": None}, "the constraint `lines` should be a whole number"),
    "the second is wrong": ({"lines": 2, "max_words": []}, "the constraint `max_words` should be a whole number"),
}


@pytest.mark.parametrize(("value", "cause"), MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_constraints_are_refused_with_what_is_expected(value: Any, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        validate_constraints(value)


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ("It leaves on Tuesday 3 June.", 1.0),
        ("It may leave soon, on a sunny day.", 1.0),  # neither a month nor a weekday
        ("May I ask when it leaves? May we wait?", 1.0),
        ("It leaves in May.", 0.0),
        ("It leaves on Wednesday 3 June.", 0.0),
        ("It leaves on Tuesday 3 May.", 0.0),
        ("It leaves on Tuesday 13 June.", 0.0),
        ("You get £12.50 back.", 1.0),
        ("You get £12.5 back.", 0.0),
        ("You get £2.50 back.", 0.0),
    ],
)
def test_an_answer_may_not_invent_a_number_a_weekday_or_a_month(answer: str, kept: float) -> None:
    known = {"figures": ["Tuesday", "3", "June", "12.50"]}
    assert validate_constraints(known) == known
    assert satisfied(answer, known) == kept
