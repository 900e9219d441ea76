"""How sure a recorded number is: everything that was random in it, seeds and test questions, is drawn again.

A run's record keeps the outcome of each question under ``outcomes``, by the path of the number that they add up to.
Runs that answered the same questions are compared on the same questions.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ftdemo.errors import DataError
from ftdemo.evaluation.outcomes import Outcomes

if TYPE_CHECKING:
    import numpy

SWEEP = "sweep"
"""The name under which a run keeps how its learning rate was chosen."""
_DRAWS = 10_000
_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t (1908), two-sided 95%, by the number of runs."""
_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
_ADDED = {"value": (0.0, 1.0, 0.0, 1.0), "minus": (0.0, 0.0, 1.0, 1.0), "over": (0.0, 0.0, 1.0, 1.0)}
"""Answers added to a share before it is resampled, two wrong and two right (Agresti and Coull 1998). Without them a
share of 0 or 1 would seem certain. Two shares get them in all four combinations."""


@dataclass(frozen=True)
class Summary:
    """A number over all runs of an arm, and how sure it is."""

    value: float
    low: float
    high: float
    """The ends of its 95% interval. Of runs without questions: of Student's t interval over the runs."""
    statistic: str
    """What the interval counts."""
    runs: tuple[float, ...] = ()
    """The number of each run, where there are no questions to resample: these are shown, not the interval."""


def look_up(runs: Mapping[str, Any], key: str) -> list[Any]:
    """The numbers that ``arm:path`` names, one per seed; or the one that ``arm/seed:path`` names.

    All runs of an arm share one sweep of the learning rate, so a number of it is found once: ``arm:sweep.best``, or
    ``arm:sweep.losses.0.003`` with a rate as it is recorded.

    Raises:
        DataError: If there is no such number.
    """
    path = key.partition(":")[2]
    try:
        values = [_walk(run, path) for run in _runs_named(runs, key)]
    except (KeyError, TypeError, ValueError, IndexError):
        values = []
    if not values:
        raise DataError(f"No recorded number `{key}`.", "Write it `arm:path.to.number` or `arm/seed:path.to.number`.")
    return values


def number(value: Any) -> float:
    """A recorded number; of an estimate, its value."""
    return float(value["value"] if isinstance(value, dict) else value)


def summarise(runs: Mapping[str, Any], value: str, minus: str | None = None, over: str | None = None) -> Summary:
    """A number, a difference or a ratio of two, over all seeds, with the interval that counts what was random in it.

    The interval is from a hierarchical bootstrap: 10,000 times, seeds and questions are drawn with replacement. Of n
    seeds, n - 1 are drawn, because the spread of a few seeds would otherwise be underestimated (Rao and Wu 1988). All
    arms get the same seeds and, where they answered the same questions, the same questions.

    Args:
        runs: A record's runs.
        value: The number's key: see `look_up`.
        minus: The key of what is subtracted from it, seed by seed.
        over: The key of what it is divided by, seed by seed.

    Raises:
        DataError: If there is no such number, the keys name unequal numbers of seeds, or a divisor is 0.
    """
    terms = {name: key for name, key in (("value", value), ("minus", minus), ("over", over)) if key}
    found = {name: look_up(runs, key) for name, key in terms.items()}
    _refuse_unpaired(found, terms)
    each = [float(one) for one in _combined({name: [number(one) for one in all_] for name, all_ in found.items()})]
    mean = statistics.fmean(each)
    outcomes = {name: _outcomes_named(runs, key) for name, key in terms.items()}
    if not all(outcomes.values()):
        estimate = found["value"][0]
        if len(terms) == len(each) == 1 and isinstance(estimate, dict):
            return Summary(mean, estimate["low"], estimate["high"], f"{estimate['rows']} questions resampled")
        return _over_runs(mean, each)
    low, high = _resampled(outcomes)
    questions = max(len(one.values) for all_ in outcomes.values() for one in all_)
    seeds = f"{_counted(len(each), 'seed')} and " if len(each) > 1 else ""
    return Summary(mean, min(low, mean), max(high, mean), f"{seeds}{questions} questions resampled")


def _refuse_unpaired(found: Mapping[str, Sequence[Any]], terms: Mapping[str, str]) -> None:
    """Refuse numbers that cannot be combined seed by seed: numpy would use a single one for all seeds."""
    counts = {f"`{terms[name]}`": len(values) for name, values in found.items()}
    if len(set(counts.values())) > 1:
        what = ", ".join(f"{key} is recorded of {count}" for key, count in counts.items())
        raise DataError(f"Numbers are combined seed by seed, but {what}.", "Name runs with the same seeds.")
    if any(number(value) == 0 for value in found.get("over", ())):
        raise DataError(
            f"`{terms['over']}` is 0, so nothing can be divided by it.", "Compare by a difference: `minus`."
        )


def _over_runs(mean: float, each: Sequence[float]) -> Summary:
    if len(each) == 1:
        return Summary(mean, mean, mean, "one run")
    half = _T[min(len(each), max(_T))] * statistics.stdev(each) / math.sqrt(len(each))
    return Summary(mean, mean - half, mean + half, _counted(len(each), "run"), tuple(each))


def _counted(count: int, noun: str) -> str:
    return f"{_NUMBERS.get(count, count)} {noun}s"


def _resampled(outcomes: Mapping[str, Sequence[Outcomes]]) -> tuple[float, float]:
    """The 95% interval of what `_combined` makes of the means over drawn seeds and questions."""
    import numpy

    add = all(one.is_share for all_ in outcomes.values() for one in all_)
    drawn = {
        name: numpy.stack([_drawn(one, _ADDED[name] if add else ()) for one in all_]) for name, all_ in outcomes.items()
    }
    by_seed = _combined(drawn)  # seeds x draws
    chosen = _seeds_drawn(len(by_seed))
    means = numpy.take_along_axis(by_seed, chosen, axis=0).mean(0)
    low, high = numpy.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _combined(terms: Mapping[str, Any]) -> Any:
    """The value less what is subtracted, over what it is divided by; seed by seed."""
    import numpy

    result = numpy.asarray(terms["value"], dtype=float)
    if "minus" in terms:
        result = result - numpy.asarray(terms["minus"])
    return result / numpy.asarray(terms["over"]) if "over" in terms else result


def _drawn(outcomes: Outcomes, added: Sequence[float]) -> numpy.ndarray:
    """The number that the outcomes add up to, for each draw of questions."""
    import numpy

    values = numpy.array([*outcomes.values, *added])
    counts = _questions_drawn(outcomes.on, len(values))
    if outcomes.weights:
        ratio: numpy.ndarray = counts @ values / (counts @ numpy.array(outcomes.weights))
        return ratio
    mean: numpy.ndarray = counts @ values / len(values)
    return mean


@lru_cache(maxsize=32)
def _questions_drawn(on: str, count: int) -> numpy.ndarray:
    """How often each of some questions is drawn: draws x questions. The same questions are always drawn alike."""
    import numpy

    random = numpy.random.default_rng(int(on, 16))
    return random.multinomial(count, numpy.full(count, 1 / count), size=_DRAWS).astype(numpy.float32)


def _seeds_drawn(count: int) -> numpy.ndarray:
    """Which seeds are drawn: one fewer than there are (at least one) x draws."""
    import numpy

    return numpy.random.default_rng(0).integers(0, count, (max(1, count - 1), _DRAWS))


def _runs_named(runs: Mapping[str, Any], key: str) -> list[Any]:
    named, _, path = key.partition(":")
    arm, _, seed = named.partition("/")
    found = [run for run in runs.values() if run["arm"] == arm and (not seed or str(run["seed"]) == seed)]
    return found[:1] if path.partition(".")[0] == SWEEP else found


def _outcomes_named(runs: Mapping[str, Any], key: str) -> list[Outcomes]:
    """The outcomes behind a number in each of its runs; none if a run lacks them."""
    path = key.partition(":")[2]
    recorded = [run.get("outcomes", {}).get(path) for run in _runs_named(runs, key)]
    return [Outcomes.read(one) for one in recorded] if all(recorded) else []


def _walk(value: Any, path: str) -> Any:
    while path:
        if isinstance(value, dict) and path in value:  # a name may have dots: a learning rate
            name, path = path, ""
        else:
            name, _, path = path.partition(".")
        value = value[int(name)] if isinstance(value, list) else value[name]
    number(value)  # it has to be one
    return value
