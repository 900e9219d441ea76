"""A shown answer is called right or wrong by what its data set checks, and by nothing else."""

from __future__ import annotations

import json

import pytest

from ftdemo.data import BUILT_IN, Row, read_rows
from ftdemo.events import Answer, Sampled
from ftdemo.ui import panels
from ftdemo.ui.verdicts import NO_VERDICT, verdict_of

TICKET = {"category": "damaged", "product": "kettle", "order": "48297", "urgency": "high", "wants": "replacement"}
REPLY = next(row for row in read_rows(BUILT_IN["replies"].heldout) if isinstance(row, Row))


def answer(text: str, reference: str = json.dumps(TICKET), prompt: str = "The kettle leaks, 48297.") -> Answer:
    return Answer(prompt, text, reference, stopped=True)


def test_each_field_of_a_ticket_is_right_or_wrong() -> None:
    verdict = verdict_of(answer(json.dumps(TICKET | {"order": None, "note": 1})), "tickets")
    assert {field.name: field.correct for field in verdict.fields} == dict.fromkeys(TICKET, True) | {
        "order": False,
        "note": False,
    }
    assert (verdict.note, verdict.correct) == ("4 of 6 fields are correct.", False)
    assert verdict_of(answer(json.dumps(TICKET)), "mine.jsonl").correct


@pytest.mark.parametrize("text", ["", "The kettle is broken.", '{"category": "damaged",', '["kettle"]'])
def test_an_answer_that_is_no_ticket_is_wrong_as_a_whole(text: str) -> None:
    verdict = verdict_of(answer(text), "tickets")
    assert verdict.correct is False
    assert not verdict.fields
    assert "not valid JSON" in verdict.note


def test_a_reply_is_wrong_with_what_is_missing_and_what_is_invented() -> None:
    prompt = REPLY.prompt[-1].content
    right = verdict_of(answer(REPLY.reference, REPLY.reference, prompt), "replies")
    assert (right.note, right.correct) == ("Correct: it passes every check.", True)
    changed = REPLY.reference.replace("£27.95", "£99.50")
    wrong = verdict_of(answer(changed, REPLY.reference, prompt), "replies")
    assert (wrong.note, wrong.correct) == ("Wrong: missing: £27.95; invented: 99.50.", False)


def test_nobody_judges_what_nobody_can_check() -> None:
    assert verdict_of(answer("Yes.", "Yes, until five."), "mine.jsonl") == NO_VERDICT
    assert verdict_of(answer("Yes.", "Yes, until five."), "replies") == NO_VERDICT


def test_a_panel_says_in_words_which_field_is_wrong_and_what_it_should_be() -> None:
    before, after = (
        Sampled(step, (answer(text),), {}, 1.0)
        for step, text in enumerate(("What kettle?", json.dumps(TICKET | {"order": "48279"})))
    )
    html = panels.sampled_answers(before, after, data="tickets")
    assert html.count("✓ correct") == 4
    assert "✗ wrong, should be &#34;48297&#34;" in html
    assert "not valid JSON" in html
    assert "What kettle?" in html
