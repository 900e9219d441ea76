"""How fast this machine carries out a recipe, from a few steps that are timed, and how long a whole run then takes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache

from ftdemo.data import Labelled, load_splits
from ftdemo.events import Event, Sampled, Step
from ftdemo.recipe import Recipe
from ftdemo.runs.perform import measure_baseline
from ftdemo.training.inspection import inspect_recipe
from ftdemo.training.loop import train
from ftdemo.training.prepare import prepare

_STEPS = 4
"""The first of them warms up."""
_ROWS, _TEXTS = 32, 400
"""So many rows tell how long a row is; a new tokenizer needs more of them."""


@dataclass(frozen=True)
class Throughput:
    """How fast this machine carries out a recipe."""

    ready_seconds: float
    """Until the model is ready to be trained."""
    tokens_per_second: float
    evaluation_seconds: float
    """For the held-out loss and the answers to the prompts, on average over the evaluations before and after."""


@dataclass(frozen=True)
class Amount:
    """How much a recipe reads."""

    rows: int
    row_tokens: float
    """Of a row, on average."""
    tokens: float
    """Of the whole run."""
    step_tokens: float
    """Of a step."""
    trained_share: float = 1.0
    """The share of the tokens that have a loss."""


def measure_throughput(recipe: Recipe, *, evaluate: bool = True, steps: int = _STEPS) -> Throughput:
    """Take a few steps of a recipe, and time them.

    Args:
        recipe: Its model, method and rows; how long it trains does not matter.
        evaluate: Whether an evaluation on the held-out examples is timed too.
        steps: How many steps are taken.

    Raises:
        FtdemoError: If the recipe cannot be carried out.
    """
    few = _TEXTS if recipe.starts_new else 2 * _ROWS
    length = {"examples": few, "epochs": 50, "max_steps": steps, "eval_every": None, "patience": None}
    brief = recipe.with_settings(length)
    prepare(brief)  # what is imported on the way is imported once
    began = time.perf_counter()
    learner = prepare(brief)
    prepared = time.perf_counter() - began
    with closing(train(brief, learner)) as events:
        taken = [event for event in events if isinstance(event, Step)]
    began = time.perf_counter()
    baseline = tuple(measure_baseline(learner)) if evaluate else ()
    evaluated = time.perf_counter() - began
    first, last = taken[0], taken[-1]
    tokens_per_second = (last.tokens - first.tokens) / (last.seconds - first.seconds)
    tuned = evaluation_seconds_when_tuned(baseline, evaluated)
    return Throughput(prepared, tokens_per_second, (evaluated + tuned) / 2)


def evaluation_seconds_when_tuned(events: Sequence[Event], seconds: float) -> float:
    """How long an evaluation should take once the model answers as the data does: longer in proportion to its answers.

    Args:
        events: What `measure_baseline` gave of an untrained model.
        seconds: How long that took.
    """
    answers = [answer for event in events if isinstance(event, Sampled) for answer in event.answers]
    if not answers:
        return seconds
    longest_before = max(len(answer.text) for answer in answers)
    return seconds * max(len(answer.reference) for answer in answers) / max(longest_before, 1)


def amount(recipe: Recipe) -> Amount:
    """How much a recipe reads, by its rows.

    Raises:
        FtdemoError: If they cannot be read.
    """
    rows = len(load_splits(recipe.data, seed=recipe.seed, examples=recipe.examples).train)
    row_tokens, trained_share = _row_tokens(recipe)
    once = rows * row_tokens
    step = once / max(1, math.ceil(once / (recipe.batch_tokens * recipe.accumulate)))  # the last one is not full
    return Amount(
        rows, row_tokens, min(once * recipe.epochs, (recipe.max_steps or math.inf) * step), step, trained_share
    )


def run_seconds(recipe: Recipe, throughput: Throughput, *, evaluations: int = 2) -> float:
    """How long a run takes at this throughput.

    Args:
        recipe: The run's recipe.
        throughput: Measured on a recipe like it.
        evaluations: The number of evaluations besides those by `sample_every`: usually before and after training.
    """
    reads = amount(recipe)
    if recipe.sample_every:
        evaluations += int(reads.tokens / reads.step_tokens / recipe.sample_every)
    training = reads.tokens / throughput.tokens_per_second
    return throughput.ready_seconds + training + evaluations * throughput.evaluation_seconds


def _row_tokens(recipe: Recipe) -> tuple[float, float]:
    """How many tokens a row has, on average over the first rows, and which share of them has a loss.

    A label's text is measured by its characters.
    """
    several = min(recipe.examples or _TEXTS, _TEXTS if recipe.starts_new else _ROWS)
    if recipe.is_classifier:
        rows = list(load_splits(recipe.data, seed=recipe.seed, examples=several).train)
        return sum(len(row.text) / 4 for row in rows if isinstance(row, Labelled)) / len(rows), 1.0
    return _mean_tokens(recipe.with_settings({"examples": several}).model_dump_json())


@lru_cache(maxsize=64)
def _mean_tokens(settings: str) -> tuple[float, float]:
    examples = inspect_recipe(Recipe.model_validate_json(settings)).examples
    tokens = sum(examples.lengths)
    return tokens / len(examples), examples.trained_tokens / tokens
