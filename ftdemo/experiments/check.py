"""Compares a record with its repetition: the verdicts, and the losses to a tolerance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

TOLERANCE = 0.01
"""By how much a held-out loss may differ, as a share of it, when an experiment is repeated on another machine.

Number format, attention and thread count are those of the experiment. What is left is rounding, in which processors and
versions of libraries differ, and which training makes larger.
"""


@dataclass(frozen=True)
class Repetition:
    """How far the repetition of an experiment is from its record."""

    problems: tuple[str, ...]
    """What differs by more than it may, a sentence each."""
    losses: int
    """How many held-out losses were compared."""
    largest: float
    """The largest difference of two of them, as a share."""


def compare_records(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> Repetition:
    """Compare a record with that of the same experiment, carried out again.

    Of a record that does not say what was fixed for it, only the verdicts: its machine chose the number format.
    """
    if "numerics" not in recorded:
        return Repetition(tuple(_other_verdicts(recorded, again)), 0, 0.0)
    problems = [*_other_numerics(recorded, again), *_other_verdicts(recorded, again)]
    differences = dict(_loss_differences(recorded["runs"], again["runs"]))
    for name, (before, now) in differences.items():
        if _share(before, now) > TOLERANCE:
            problems.append(f"the {name} was {before:g}, now it is {now:g}, which is more than {TOLERANCE:.0%} away.")
    largest = max((_share(*pair) for pair in differences.values()), default=0.0)
    return Repetition(tuple(problems), len(differences), largest)


def _other_numerics(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[str]:
    before, now = recorded["numerics"], again["numerics"]
    if before != now:
        yield f"it was recorded with {_in_words(before)}, and now runs with {_in_words(now)}."


def _in_words(numerics: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in numerics.items())


def _other_verdicts(recorded: Mapping[str, Any], again: Mapping[str, Any]) -> Iterator[str]:
    claims = {claim["id"]: claim for claim in again["claims"]}
    for claim in recorded["claims"]:
        now = claims.get(claim["id"])
        if now is None:
            yield f'"{claim["says"]}" is recorded, but no longer claimed.'
        elif now["verdict"] != claim["verdict"]:
            yield (
                f'"{claim["says"]}" was {claim["verdict"]} ({claim["value"]:g}), '
                f"now it is {now['verdict']} ({now['value']:g}; {claim['bound']})."
            )


def _loss_differences(
    recorded: Mapping[str, Any], again: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[float, float]]]:
    """The held-out losses that both have, before and now."""
    for key in recorded.keys() & again.keys():
        before, now = (runs[key].get("heldout_loss", {}) for runs in (recorded, again))
        for when in before.keys() & now.keys():
            yield f"held-out loss of {key} {when} training", (before[when], now[when])


def _share(before: float, now: float) -> float:
    return abs(now - before) / max(abs(before), 1e-9)
