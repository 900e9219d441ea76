"""The handbook's questions can be answered from its documents, and its changes change them."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from ftdemo.comparison.approaches import apply_changes, load_task
from ftdemo.data.builtin import BUILT_IN
from ftdemo.data.constraints import satisfied

SET = BUILT_IN["handbook"]


def read(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (SET.folder / name).read_text(encoding="utf-8").splitlines()]


TRAIN, HELDOUT, DOCUMENTS, CHANGES = (read(f"{name}.jsonl") for name in ("train", "heldout", "documents", "changes"))


def test_each_fact_has_two_questions_to_train_on_and_two_others_to_judge_by() -> None:
    facts = Counter(row["completion"] for row in TRAIN)
    assert len(facts) == 100
    assert set(facts.values()) == {2}
    assert Counter(row["completion"] for row in HELDOUT) == facts
    questions = [row["prompt"].casefold() for row in TRAIN + HELDOUT]
    assert len(set(questions)) == 400


def test_every_reference_fulfils_its_own_constraints_and_no_other_does() -> None:
    for row in HELDOUT:
        assert satisfied(row["completion"], row["constraints"]) == 1
    for completion, constraints in {row["completion"]: row["constraints"] for row in HELDOUT}.items():
        others = {row["completion"] for row in HELDOUT} - {completion}
        assert not [other for other in others if satisfied(other, constraints) == 1], completion


def test_the_documents_hold_what_every_answer_needs() -> None:
    texts = [row["text"] for row in DOCUMENTS]
    for row in HELDOUT:
        assert [text for text in texts if satisfied(text, row["constraints"]) == 1], row["prompt"]


def test_no_question_gives_its_answer_away() -> None:
    for row in HELDOUT:
        assert satisfied(row["prompt"], row["constraints"]) < 1, row["prompt"]


def test_ten_facts_change_and_the_documents_then_hold_the_new_ones() -> None:
    assert len(CHANGES) == 10
    task = load_task(SET.folder)
    corrected = apply_changes(task).documents
    assert len(corrected) == len(task.documents) == 25
    heldout = {row["prompt"]: row for row in HELDOUT}
    for change in CHANGES:
        assert sum(change["old"] in document for document in task.documents) == 1
        assert not any(change["old"] in document for document in corrected)
        assert sum(change["new"] in document for document in corrected) == 1
        assert satisfied(change["completion"], change["constraints"]) == 1
        assert satisfied(change["completion"], heldout[change["prompt"]]["constraints"]) < 1
