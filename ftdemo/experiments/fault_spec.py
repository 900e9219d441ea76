"""Runs with one planted fault each, to learn to find faults by: how each is made, what it shows, and what explains it.

A collection is a folder with ``cases.yaml`` and, once its runs were carried out, ``record.json``. Nothing is trained
here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ftdemo.errors import DataError, RecipeError, first_problem
from ftdemo.experiments.spec import Numerics, RecordedFolder
from ftdemo.recipe import Recipe

CASES = "cases.yaml"
_FROZEN = ConfigDict(frozen=True, extra="forbid")

RowFault = Literal["leaked", "repeated", "joined", "wrong column", "long"]
CodeFault = Literal["mask on the question", "weights in bfloat16"]
Asking = Literal["as trained", "bare text", "joined text", "other base"]


class Symptom(BaseModel):
    """A number of a case and its bound: what has to show, so that the fault can be found."""

    model_config = _FROZEN

    value: str
    minus: str | None = None
    over: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def measure(self, numbers: Mapping[str, float]) -> float:
        """The number.

        Raises:
            DataError: If the case has no such number.
        """
        try:
            found = numbers[self.value] - (numbers[self.minus] if self.minus else 0.0)
            return found / numbers[self.over] if self.over else found
        except KeyError as error:
            raise DataError(f"A symptom names {error}.", f"The numbers are: {', '.join(numbers)}.") from None

    def is_shown(self, numbers: Mapping[str, float]) -> bool:
        """Whether the number keeps to its bound."""
        least = -math.inf if self.at_least is None else self.at_least
        most = math.inf if self.at_most is None else self.at_most
        return least <= self.measure(numbers) <= most

    def in_words(self) -> str:
        """The symptom as an expression."""
        number = self.value + (f" - {self.minus}" if self.minus else "") + (f" / {self.over}" if self.over else "")
        bounds = ((">=", self.at_least), ("<=", self.at_most))
        return " and ".join(f"{number} {sign} {bound:g}" for sign, bound in bounds if bound is not None)


class FaultyRun(BaseModel):
    """A run, and the fault that is planted in its settings, its examples, its code, or the use of its model."""

    model_config = _FROZEN

    settings: dict[str, Any] = Field(default_factory=dict, alias="set", description="changes to the common recipe")
    rows: RowFault | None = Field(None, description="what is done to the examples: see `planted`")
    code: CodeFault | None = Field(None, description="what the training program does wrong: see `planted`")
    asks: Asking = Field("as trained", description="how the finished model is asked by those who use it")
    base: str | None = Field(None, description="with `other base`, the model that the adapter is put on")


class FaultCase(FaultyRun):
    """A run with a fault, and the words about it."""

    id: str
    title: str = Field(description="the symptom, as a heading that does not give the cause away")
    story: str = Field(description="what somebody did, as they would tell it")
    cause: str = Field(description="the planted cause, by its key in `causes`")
    others: dict[str, str] = Field(description="other plausible causes, each with what speaks against it")
    why: str = Field(description="how the fault leads to the symptom; numbers of the record in braces")
    clue: str = Field(description="what in the evidence gives it away; numbers of the record in braces")
    command: str | None = Field(None, description="the command that tells, as run in the case's folder")
    tells: str = Field("", description="a regular expression for the lines of its output that tell")
    remedy: str = Field(description="what follows, or what tells where no command does")
    symptoms: tuple[Symptom, ...] = Field(min_length=1)
    repeats: bool = Field(True, description="whether its losses can be repeated to within rounding")


class FaultSpec(BaseModel):
    """What ``cases.yaml`` holds."""

    model_config = _FROZEN

    title: str
    recipe: dict[str, Any] = Field(description="what all runs have in common")
    numerics: Numerics = Numerics()
    causes: dict[str, str] = Field(description="all causes to choose from, by key")
    healthy: FaultyRun = Field(description="the same job without a fault")
    cases: tuple[FaultCase, ...]

    def runs(self) -> dict[str, FaultyRun]:
        """All runs by name, the healthy one first: the numbers of the others may be compared with its."""
        return {"healthy": self.healthy, **{case.id: case for case in self.cases}}

    def recipe_of(self, run: FaultyRun, data: str) -> Recipe:
        """The recipe by which a run is carried out.

        Args:
            run: The run.
            data: Where its examples are, or the data set that they come from.
        """
        fixed = self.numerics.model_dump(exclude={"threads"})
        settings = {**fixed, **self.recipe, **run.settings, "data": data}
        if data != self.source_of(run):
            settings["examples"] = None  # the folder holds those that are trained on
        return Recipe(**settings)

    def source_of(self, run: FaultyRun) -> str:
        """The data set that a run's examples come from."""
        return str({**self.recipe, **run.settings}["data"])


@dataclass(frozen=True)
class FaultCases(RecordedFolder):
    """A collection's folder."""

    @cached_property
    def spec(self) -> FaultSpec:
        """The runs and the words about them.

        Raises:
            RecipeError: If the file cannot be read, or something in it is not as it should be.
        """
        path = self.folder / CASES
        try:
            spec = FaultSpec(**yaml.safe_load(path.read_text(encoding="utf-8")))
            for run in spec.runs().values():
                spec.recipe_of(run, spec.source_of(run))
        except ValidationError as error:
            raise RecipeError(f"{path}: {first_problem(error)}.", "See `FaultSpec` for what each key means.") from None
        except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
            raise RecipeError(f"{path}: {error}.", "It is a YAML file with the keys of `FaultSpec`.") from None
        _refuse_unknown_causes(spec, path)
        return spec


def find_fault_cases(folder: Path) -> dict[str, FaultCases]:
    """All collections in a folder, by name."""
    return {path.parent.name: FaultCases(path.parent) for path in sorted(folder.glob(f"*/{CASES}"))}


def case_numbers(run: Mapping[str, Any], healthy: Mapping[str, Any]) -> dict[str, float]:
    """The numbers that symptoms and words may name: those of a recorded run, and those of the run without a fault."""
    without = {f"healthy_{name}": value for name, value in healthy["numbers"].items()}
    return {**without, **run["numbers"]}


def _refuse_unknown_causes(spec: FaultSpec, path: Path) -> None:
    for case in spec.cases:
        for cause in (case.cause, *case.others):
            if cause not in spec.causes:
                raise RecipeError(f"{path}: {case.id} names the cause `{cause}`.", f"Known: {', '.join(spec.causes)}.")
        if case.cause in case.others:
            raise RecipeError(f"{path}: {case.id} lists its cause among `others`.", "Leave it out there.")
