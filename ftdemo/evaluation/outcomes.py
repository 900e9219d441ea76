"""How each question came out, not only how many were right: what an interval of a score is resampled from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ftdemo.data import AnyPrompt
from ftdemo.evaluation.evaluate import score
from ftdemo.events import Answer


@dataclass(frozen=True)
class Outcomes:
    """How each question came out in one evaluation.

    The number that they add up to is the mean of the values, or, with weights, their sum over the sum of the weights:
    the losses of rows, each with its number of tokens.
    """

    on: str
    """Which questions these are: a hash of them."""
    values: tuple[float, ...]
    weights: tuple[int, ...] = ()

    @classmethod
    def of(cls, questions: Iterable[object], values: Iterable[float], weights: Iterable[int] = ()) -> Outcomes:
        """The outcomes of questions."""
        text = "\x1e".join(map(repr, questions))
        return cls(hashlib.sha256(text.encode()).hexdigest()[:8], tuple(values), tuple(weights))

    @classmethod
    def of_losses(cls, questions: Iterable[object], losses: Iterable[tuple[float, int]]) -> Outcomes:
        """Losses as `evaluate.row_losses` has them: of each row the sum and the number of tokens."""
        sums, counts = zip(*losses, strict=True)
        return cls.of(questions, sums, counts)

    @classmethod
    def read(cls, recorded: Mapping[str, Any]) -> Outcomes:
        """The outcomes that `as_record` wrote."""
        return cls(recorded["on"], tuple(map(float, recorded["values"])), tuple(recorded.get("weights", ())))

    def as_record(self) -> dict[str, Any]:
        """Plain values; where each answer is either right or wrong, a string with a digit for each."""
        if set(self.values) <= {0.0, 1.0} and not self.weights:
            return {"on": self.on, "values": "".join(str(int(value)) for value in self.values)}
        rounded = [float(f"{value:.4g}") for value in self.values]
        return {"on": self.on, "values": rounded} | ({"weights": list(self.weights)} if self.weights else {})

    @property
    def is_share(self) -> bool:
        """Whether every value lies between wrong, 0, and right, 1."""
        return not self.weights and all(0 <= value <= 1 for value in self.values)


def score_outcomes(answers: Sequence[Answer], rows: Sequence[AnyPrompt], data: str) -> dict[str, Outcomes]:
    """Each score of each answer, by the score's name; scores that only some of the answers have are left out."""
    each = [score(answer, row, data) for answer, row in zip(answers, rows, strict=True)]
    common = [name for name in (each[0] if each else ()) if all(name in scores for scores in each)]
    return {name: Outcomes.of(rows, (scores[name] for scores in each)) for name in common}
