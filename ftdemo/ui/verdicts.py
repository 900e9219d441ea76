"""What is right and what is wrong about an answer that a demo shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from ftdemo.data import BUILT_IN, Row, constraints, load_splits
from ftdemo.evaluation.fields import Field, compare_fields, parse_object
from ftdemo.events import Answer


@dataclass(frozen=True)
class Verdict:
    """What is right or wrong about an answer; nothing where nobody knows."""

    note: str = ""
    fields: tuple[Field, ...] = ()
    """Of an answer in JSON, each with whether it is right."""
    correct: bool | None = None
    """Whether all of it is right, where that can be checked."""


NO_VERDICT = Verdict()


def verdict_of(answer: Answer, data: str) -> Verdict:
    """What is right or wrong about the answer to a held-out prompt.

    Args:
        answer: The answer, with the one that was wanted.
        data: The data set that the prompt is from.
    """
    if fields := compare_fields(answer.text, answer.reference):
        if parse_object(answer.text) is None:
            return Verdict("Wrong: this is not valid JSON.", correct=False)
        right = sum(field.correct for field in fields)
        return Verdict(f"{right} of {len(fields)} fields are correct.", fields, right == len(fields))
    if wanted := _constraints_of(data).get(answer.prompt):
        violations = constraints.violations(answer.text, wanted)
        note = f"Wrong: {'; '.join(violations)}." if violations else "Correct: it passes every check."
        return Verdict(note, correct=not violations)
    return NO_VERDICT


@cache
def _constraints_of(data: str) -> Mapping[str, constraints.Constraints]:
    """The checks of a built-in set's held-out examples, by their prompts."""
    if data not in BUILT_IN:
        return {}
    rows = (row for row in load_splits(data, seed=0, examples=1).heldout if isinstance(row, Row))
    return {row.prompt[-1].content: row.constraints for row in rows if row.constraints}
