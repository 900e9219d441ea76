"""Experiments: what is compared, what is claimed of it, and the record in which both come out. Nothing is trained here.

An experiment is a folder with ``experiment.yaml`` and, once it was carried out, ``record.json``. A claim is data: a
number of the record and a bound. Whether it holds is decided by an interval, never by the number alone.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ftdemo.errors import DataError, FtdemoError, RecipeError, first_problem
from ftdemo.recipe import Recipe

SPEC, RECORD, QUICK = "experiment.yaml", "record.json", "quick.json"
Verdict = Literal["holds", "does not hold", "not shown"]
Interval = tuple[float, float, float]
"""A number, and the lower and the upper end of its 95% interval."""
_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Student's t (1908), two-sided 95%, by the number of runs."""
_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Change(BaseModel):
    """What is done to the training rows of a built-in data set before an arm trains on them."""

    model_config = _FROZEN

    mislabel: float = Field(0.0, ge=0, le=1, description="share of rows that get another row's answer or label")
    repeat: int = Field(1, ge=1, description="how often each row occurs")
    per_label: int | None = Field(None, ge=1, description="rows of each label that are kept")


class Arm(BaseModel):
    """One of the things that are compared."""

    model_config = _FROZEN

    settings: dict[str, Any] = Field(default_factory=dict, alias="set", description="changes to the recipe")
    rows: Change | None = Field(None, description="changes to the training rows")
    start: str | None = Field(None, description="the arm whose model this one starts from")
    adapter: str | None = Field(None, description="the arm whose adapter is put on `start`, instead of training")
    compare: str | None = Field(None, description="the task on which all approaches are compared")
    questions: int | None = Field(None, ge=1, description="of that task, how many held-out questions are asked")


class Claim(BaseModel):
    """A number and its bound. Numbers are ``arm:path``, or ``arm/seed:path`` for one run of the arm."""

    model_config = _FROZEN

    id: str
    says: str = Field(description="what is claimed, as a sentence")
    value: str
    minus: str | None = None
    over: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    quick: bool = Field(False, description="whether the quick form decides it too")

    @property
    def bound(self) -> str:
        """The bound in words."""
        parts = (("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{word} {number:g}" for word, number in parts if number is not None)

    def verdict(self, low: float, high: float) -> Verdict:
        """Whether the whole interval keeps to the bound, breaks it, or does neither."""
        least = -math.inf if self.at_least is None else self.at_least
        most = math.inf if self.at_most is None else self.at_most
        if least <= low and high <= most:
            return "holds"
        return "does not hold" if high < least or low > most else "not shown"


class Chart(BaseModel):
    """A picture of an experiment: a number of each arm, in rows or along lines."""

    model_config = _FROZEN

    id: str
    title: str
    y: str = Field("", description="path to the number in a run")
    label: str = Field("", description="what stands below the axis")
    x: dict[str, float] = Field(default_factory=dict, description="where each arm stands on a line")
    lines: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="the arms of each line")
    points: dict[str, str] = Field(default_factory=dict, description="rows by name, each a number as claims name it")
    log: bool = False
    lowest: float = 0.0


class Quick(BaseModel):
    """The form of an experiment that is over in a minute or so."""

    model_config = _FROZEN

    settings: dict[str, Any] = Field(default_factory=dict, alias="set", description="changes to every recipe")
    arms: tuple[str, ...] = Field((), description="the arms that are carried out")


class Spec(BaseModel):
    """What ``experiment.yaml`` holds."""

    model_config = _FROZEN

    title: str
    question: str
    recipe: dict[str, Any] = Field(description="what all arms have in common")
    arms: dict[str, Arm]
    seeds: tuple[int, ...] = (0, 1, 2)
    measure: tuple[str, ...] = Field((), description="what is measured of each run besides its own scores")
    claims: tuple[Claim, ...] = ()
    charts: tuple[Chart, ...] = ()
    quick: Quick | None = None
    shown: str | None = Field(None, description="the arm whose curve and answers are kept, of the first seed")
    ships: str | None = Field(None, description="the bundled model that the first run becomes")

    def recipe_of(self, arm: str, seed: int, *, quick: bool) -> Recipe:
        """The recipe of one run."""
        settings = {**self.recipe, **self.arms[arm].settings, "seed": seed}
        return Recipe(**{**settings, **(self.quick.settings if quick and self.quick else {})})


@dataclass(frozen=True)
class Outcome:
    """How a claim came out."""

    id: str
    says: str
    value: float
    low: float
    high: float
    bound: str
    statistic: str
    verdict: Verdict


@dataclass(frozen=True)
class Experiment:
    """An experiment's folder."""

    folder: Path

    @property
    def name(self) -> str:
        """What it is called."""
        return self.folder.name

    @cached_property
    def spec(self) -> Spec:
        """What is to be done.

        Raises:
            RecipeError: If the file cannot be read, or something in it is not as it should be.
        """
        path = self.folder / SPEC
        try:
            spec = Spec(**yaml.safe_load(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
            raise RecipeError(f"{path}: {_reason(error)}.", "See docs/experiments for ones that work.") from None
        _refuse_unknown_arms(spec, path)
        return spec

    def record(self, file: str = RECORD) -> dict[str, Any] | None:
        """What came out, if it was carried out."""
        path = self.folder / file
        if not path.exists():
            return None
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise DataError(f"{path}: not valid JSON.", f"Run `ftdemo record {self.name}` again.") from None
        return record


def find_experiments(folder: Path) -> dict[str, Experiment]:
    """All experiments in a folder, by name."""
    found = sorted(folder.glob(f"*/{SPEC}"))
    return {path.parent.name: Experiment(path.parent) for path in found}


def outcomes(spec: Spec, runs: dict[str, Any], *, quick: bool = False) -> list[Outcome]:
    """How the claims of an experiment come out, given its runs; of the quick form those that it decides.

    Raises:
        DataError: If a claim names a number that is not there.
    """
    return [_decide(claim, runs) for claim in spec.claims if claim.quick or not quick]


def look_up(runs: dict[str, Any], key: str) -> list[Any]:
    """The numbers that ``arm:path`` names, one a seed; or the one that ``arm/seed:path`` names.

    Raises:
        DataError: If there is no such number.
    """
    place, _, path = key.partition(":")
    arm, _, seed = place.partition("/")
    chosen = [run for run in runs.values() if run["arm"] == arm and (not seed or str(run["seed"]) == seed)]
    try:
        values = [_walk(run, path) for run in chosen]
    except (KeyError, TypeError, IndexError):
        values = []
    if not values:
        raise DataError(f"No recorded number `{key}`.", "Write it `arm:path.to.number` or `arm/seed:path.to.number`.")
    return values


def number(value: Any) -> float:
    """A recorded number; of an estimate, its value."""
    return float(value["value"] if isinstance(value, dict) else value)


def over_seeds(values: list[float]) -> Interval:
    """The mean of some runs' numbers and its 95% t interval; of a single run, the number alone."""
    mean = statistics.fmean(values)
    if len(values) == 1:
        return mean, mean, mean
    half = _T[min(len(values), max(_T))] * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half


def as_record(found: list[Outcome]) -> list[dict[str, Any]]:
    """Outcomes as plain values, rounded to what they are worth."""
    return [
        {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in asdict(outcome).items()}
        for outcome in found
    ]


def _decide(claim: Claim, runs: dict[str, Any]) -> Outcome:
    (value, low, high), statistic = _interval(claim, runs)
    return Outcome(claim.id, claim.says, value, low, high, claim.bound, statistic, claim.verdict(low, high))


def _interval(claim: Claim, runs: dict[str, Any]) -> tuple[Interval, str]:
    values = look_up(runs, claim.value)
    if len(values) == 1 and isinstance(values[0], dict) and not (claim.minus or claim.over):
        estimate = values[0]
        return (estimate["value"], estimate["low"], estimate["high"]), f"bootstrap over {estimate['rows']} rows"
    numbers = [number(value) for value in values]
    if claim.minus:
        numbers = [a - number(b) for a, b in zip(numbers, look_up(runs, claim.minus), strict=True)]
    if claim.over:
        numbers = [a / number(b) for a, b in zip(numbers, look_up(runs, claim.over), strict=True)]
    single = "one run" if len(numbers) == 1 else f"t interval over {len(numbers)} seeds"
    return over_seeds(numbers), single


def _walk(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = value[int(name)] if isinstance(value, list) else value[name]
    number(value)  # it has to be one
    return value


def _refuse_unknown_arms(spec: Spec, path: Path) -> None:
    for named in _arms_named(spec):
        if named not in spec.arms:
            raise RecipeError(f"{path}: there is no arm `{named}`.", f"The arms are: {', '.join(spec.arms)}.")


def _arms_named(spec: Spec) -> Iterator[str]:
    yield from spec.quick.arms if spec.quick else ()
    yield from filter(None, [spec.shown])
    for arm in spec.arms.values():
        yield from filter(None, [arm.start, arm.adapter])
    for chart in spec.charts:
        yield from chart.x
        for arms in chart.lines.values():
            yield from arms
    for claim in spec.claims:
        keys = filter(None, [claim.value, claim.minus, claim.over])
        yield from (key.partition(":")[0].partition("/")[0] for key in keys)


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return first_problem(error)
    if isinstance(error, FtdemoError):
        return error.what
    return str(getattr(error, "strerror", None) or error).splitlines()[0]
