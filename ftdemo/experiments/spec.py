"""Experiments: what is compared, what is claimed of it, and the record with the results. Nothing is trained here.

An experiment is a folder with ``experiment.yaml`` and, once it was carried out, ``record.json``. A claim is data: a
number of the record and a bound. Its verdict is decided by an interval, never by the number alone.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from ftdemo.errors import DataError, FtdemoError, RecipeError, first_problem
from ftdemo.evaluation.evaluate import with_interval
from ftdemo.experiments.intervals import summarise
from ftdemo.recipe import Recipe

SPEC, RECORD, QUICK = "experiment.yaml", "record.json", "quick.json"
Verdict = Literal["confirmed", "refuted", "inconclusive"]
_FROZEN = ConfigDict(frozen=True, extra="forbid")


class Change(BaseModel):
    """What is done to the training examples of a built-in data set before an arm trains on them."""

    model_config = _FROZEN

    mislabel: float = Field(0.0, ge=0, le=1, description="share of examples that get another example's answer or label")
    repeat: int = Field(1, ge=1, description="how often each example occurs")
    per_label: int | None = Field(None, ge=1, description="examples of each label that are kept")
    facts: int | None = Field(None, ge=1, description="different answers whose examples are kept, held-out ones too")


class Numerics(BaseModel):
    """What a machine would otherwise choose. It is fixed, so that a record can be repeated on another machine."""

    model_config = _FROZEN

    device: Literal["cpu", "cuda", "mps"] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Literal["ftdemo", "sdpa", "eager"] = "ftdemo"
    threads: int = Field(default=2, ge=1, description="of torch; a sum that more threads share is rounded differently")


class Sweep(BaseModel):
    """How the best of an arm's `rates` is chosen: by the loss on a validation split of its training examples."""

    model_config = _FROZEN

    seed: int = Field(
        default=1000, ge=0, description="of the split and of the trial runs; not one of the experiment's seeds"
    )
    share: float = Field(
        default=0.2, gt=0, lt=1, description="share of the training examples used for validation, up to 200"
    )
    extend: int = Field(default=3, ge=0, description="rates that are added, one by one, while the best is at an end")


class Arm(BaseModel):
    """One of the things that are compared."""

    model_config = _FROZEN

    settings: dict[str, Any] = Field(default_factory=dict, alias="set", description="changes to the recipe")
    rows: Change | None = Field(None, description="changes to the training examples")
    start: str | None = Field(None, description="the arm whose model this one starts from")
    adapter: str | None = Field(None, description="the arm whose adapter is added to `start`, instead of training")
    compare: str | None = Field(None, description="the task on which all approaches are compared")
    questions: int | None = Field(None, ge=1, description="of that task, how many held-out questions are asked")
    baseline: Literal["tfidf"] | None = Field(None, description="the classifier without a network to fit instead")
    rates: tuple[float, ...] = Field((), description="learning rates to try, ascending; runs use the best")
    rate_of: str | None = Field(None, description="the arm whose best learning rate this one uses")

    @field_validator("rates")
    @classmethod
    def _refuse_unordered_rates(cls, rates: tuple[float, ...]) -> tuple[float, ...]:
        if rates and (len(rates) < 2 or list(rates) != sorted(set(rates)) or not 0 < rates[0] < rates[-1] <= 1):
            raise PydanticCustomError("rates", "Input should be two rates or more, ascending, above 0 and up to 1")
        return rates

    @property
    def trains(self) -> bool:
        """Whether a recipe is carried out for it."""
        return not (self.adapter or self.compare or self.baseline)


class Claim(BaseModel):
    """A number and its bound. Numbers are ``arm:path``, or ``arm/seed:path`` for one run of the arm."""

    model_config = _FROZEN

    id: str
    says: str = Field(description="the claim, as a sentence that makes sense on its own")
    value: str
    minus: str | None = None
    over: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    quick: bool = Field(False, description="whether it is about the quick form, and decided by that alone")

    @property
    def bound(self) -> str:
        """The bound in words."""
        parts = (("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{word} {number:g}" for word, number in parts if number is not None)

    def verdict(self, low: float, high: float) -> Verdict:
        """Confirmed if the whole interval keeps to the bound, refuted if all of it breaks the bound."""
        least = -math.inf if self.at_least is None else self.at_least
        most = math.inf if self.at_most is None else self.at_most
        if least <= low and high <= most:
            return "confirmed"
        return "refuted" if high < least or low > most else "inconclusive"


class Chart(BaseModel):
    """A picture of an experiment: a number of each arm, in rows or along lines."""

    model_config = _FROZEN

    id: str
    title: str
    y: str = Field("", description="path to the number in a run")
    label: str = Field("", description="the label below the axis")
    x: dict[str, float] = Field(default_factory=dict, description="the position of each arm on the axis")
    lines: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="the arms of each line")
    points: dict[str, str] = Field(default_factory=dict, description="rows by name, each a number as claims name it")
    sweeps: dict[str, str] = Field(default_factory=dict, description="lines by name, each of an arm's learning rates")
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
    numerics: Numerics = Numerics()
    sweep: Sweep = Sweep()
    measure: tuple[str, ...] = Field((), description="what is measured of each run besides its own scores")
    claims: tuple[Claim, ...] = ()
    charts: tuple[Chart, ...] = ()
    quick: Quick | None = None
    shown: str | None = Field(None, description="the arm whose curve and answers are kept, of the first seed")
    ships: str | None = Field(None, description="the bundled model that the first run becomes")

    def swept_arm(self, arm: str) -> str | None:
        """The arm whose sweep decides an arm's learning rate; none if its recipe does."""
        found = self.arms[arm]
        return found.rate_of or (arm if found.rates else None)

    def recipe_of(self, arm: str, seed: int, *, quick: bool, lr: float | None = None) -> Recipe:
        """The recipe of one run.

        Args:
            arm: The arm.
            seed: The run's seed.
            quick: Whether it is the quick form, which tries no learning rates.
            lr: The learning rate that the arm's sweep chose, or tries now; by default the middle one of its rates.
        """
        fixed = self.numerics.model_dump(exclude={"threads"})
        settings = {**fixed, **self.recipe, **self.arms[arm].settings, "seed": seed}
        if swept := self.swept_arm(arm):
            rates = self.arms[swept].rates
            settings["lr"] = lr or rates[len(rates) // 2]
        return Recipe(**{**settings, **(self.quick.settings if quick and self.quick else {})})


@dataclass(frozen=True)
class Decision:
    """A claim and its verdict."""

    id: str
    says: str
    value: float
    low: float
    high: float
    runs: tuple[float, ...]
    """The number of each run, where no interval is shown: see `intervals.Summary`."""
    bound: str
    statistic: str
    verdict: Verdict


@dataclass(frozen=True)
class RecordedFolder:
    """A folder with what is to be done and, once it was carried out, with its record."""

    folder: Path

    @property
    def name(self) -> str:
        """What it is called."""
        return self.folder.name

    def record(self, file: str = RECORD) -> dict[str, Any] | None:
        """What came out, if it was carried out.

        Raises:
            DataError: If the record is not valid JSON.
        """
        path = self.folder / file
        if not path.exists():
            return None
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise DataError(f"{path}: not valid JSON.", f"Run `ftdemo record {self.name}` again.") from None
        return record


@dataclass(frozen=True)
class Experiment(RecordedFolder):
    """An experiment's folder."""

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
        _refuse_impossible_arms(spec, path)
        return spec


def find_experiments(folder: Path) -> dict[str, Experiment]:
    """All experiments in a folder, by name."""
    found = sorted(folder.glob(f"*/{SPEC}"))
    return {path.parent.name: Experiment(path.parent) for path in found}


def decide(spec: Spec, runs: dict[str, Any], *, quick: bool = False) -> list[Decision]:
    """The verdicts on an experiment's claims, given its runs: those on the quick form, or all others.

    Raises:
        DataError: If a claim names a number that is not there.
    """
    return [_decide(claim, runs) for claim in spec.claims if claim.quick == quick]


def as_record(findings: list[Decision]) -> list[dict[str, Any]]:
    """Findings as plain values, with five digits."""
    return [{key: _rounded(value) for key, value in asdict(finding).items()} for finding in findings]


def claim_in_words(recorded: Mapping[str, Any]) -> str:
    """What was measured for a recorded claim: its number, the interval and what that counts; or each run's number."""
    if recorded["runs"]:
        return f"{recorded['statistic']}: {', '.join(f'{value:.3g}' for value in recorded['runs'])}"
    if recorded["low"] == recorded["value"] == recorded["high"]:
        return f"{recorded['value']:.3g} ({recorded['statistic']})"
    return f"{with_interval(recorded, '.3g')}, {recorded['statistic']}"


def _decide(claim: Claim, runs: dict[str, Any]) -> Decision:
    found = summarise(runs, claim.value, claim.minus, claim.over)
    return Decision(
        claim.id,
        claim.says,
        found.value,
        found.low,
        found.high,
        found.runs,
        claim.bound,
        found.statistic,
        claim.verdict(found.low, found.high),
    )


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _refuse_unknown_arms(spec: Spec, path: Path) -> None:
    for named in _arms_named(spec):
        if named not in spec.arms:
            raise RecipeError(f"{path}: there is no arm `{named}`.", f"The arms are: {', '.join(spec.arms)}.")


def _refuse_impossible_arms(spec: Spec, path: Path) -> None:
    """Refuse an arm that needs one which is carried out later, or whose learning rate nothing or two things decide."""
    places = {name: place for place, name in enumerate(spec.arms)}
    for name, arm in spec.arms.items():
        for needed in filter(None, [arm.start, arm.adapter, arm.rate_of]):
            if places[needed] >= places[name]:
                raise RecipeError(f"{path}: the arm `{name}` needs `{needed}`.", f"Write `{needed}` before `{name}`.")
        if arm.rate_of and not spec.arms[arm.rate_of].rates:
            what = f"{path}: `{name}` uses the learning rate of `{arm.rate_of}`, which has no `rates`."
            raise RecipeError(what, f"Give `{arm.rate_of}` the `rates` to try.")
        chosen = [key for key in ("rates", "rate_of") if getattr(arm, key)]
        decided = [*chosen, *(["set.lr"] if "lr" in arm.settings else [])]
        if chosen and (len(decided) > 1 or not arm.trains):
            what = f"{path}: the arm `{name}` has `{decided[0]}`, but " + (
                f"`{decided[1]}` decides its learning rate, too." if arm.trains else "trains nothing by a recipe."
            )
            raise RecipeError(what, "Keep one of them." if arm.trains else f"Leave `{decided[0]}` out.")
    if spec.sweep.seed in spec.seeds:
        raise RecipeError(f"{path}: the seed of `sweep` is one of `seeds`.", "A sweep needs a seed of its own.")


def _arms_named(spec: Spec) -> Iterator[str]:
    yield from spec.quick.arms if spec.quick else ()
    yield from filter(None, [spec.shown])
    for arm in spec.arms.values():
        yield from filter(None, [arm.start, arm.adapter, arm.rate_of])
    for chart in spec.charts:
        yield from chart.x
        yield from chart.sweeps.values()
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
