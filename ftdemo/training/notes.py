"""Which settings of a recipe do nothing in a run, and why: reported before the first step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sized
from itertools import chain, islice
from pathlib import Path

from ftdemo.data import Splits, Text
from ftdemo.data.split import MIN_ROWS_TO_SPLIT
from ftdemo.errors import RecipeError
from ftdemo.recipe import Recipe
from ftdemo.training.learner import Learner

_ROWS = 100
"""The first of the rows tell which kind of rows there are."""
_OF_ANSWERS = ("train_on", "train_stop", "sample_prompts", "answer_tokens")
"""Keys about texts that a model writes; a classifier writes none."""
_OF_COMPLETIONS = ("train_on", "train_stop")
"""Keys that tell completions from prompts; a running text has neither."""


def refuse_patience_without_loss(recipe: Recipe, splits: Splits, heldout: Sized) -> None:
    """Refuse early stopping where there is no held-out loss to watch.

    Args:
        recipe: The recipe.
        splits: Its rows.
        heldout: The held-out examples whose loss is measured.

    Raises:
        RecipeError: With the reason why there are none.
    """
    if recipe.patience is not None and not len(heldout):
        why = _why_nothing_is_evaluated(recipe, splits)
        what = f"`patience` is {recipe.patience}, but no held-out loss is measured, because {why}."
        raise RecipeError(what, "Leave out `patience`, or provide held-out examples.")


def settings_without_effect(learner: Learner, steps: int) -> tuple[str, ...]:
    """Which of a recipe's settings have no effect in this run, a sentence each.

    Args:
        learner: The run's.
        steps: The optimizer steps for which the examples last, whatever `max_steps` says.
    """
    recipe = learner.recipe
    total = min(steps, recipe.max_steps or steps)
    found = (_about_length(learner, steps, total), _about_evaluations(learner, total), _about_rows(learner))
    return (*learner.notes, *chain.from_iterable(found))


def _about_length(learner: Learner, steps: int, total: int) -> Iterator[str]:
    recipe, rows = learner.recipe, len(learner.splits.train)
    if recipe.max_steps and recipe.max_steps > steps:
        epochs = f"{recipe.epochs:g} {'epoch has' if recipe.epochs == 1 else 'epochs have'}"
        yield f"`max_steps` is {recipe.max_steps:,}, but {epochs} only {steps:,} steps. Raise `epochs` for more."
    if recipe.examples and recipe.examples > rows:
        yield f"`examples` is {recipe.examples:,}, but there are only {rows:,} training examples."
    for key in ("save_every", "sample_every"):
        every = getattr(recipe, key)
        if every and every >= total:
            yield f"`{key}` is {every:,}, which has no effect in {total:,} steps."


def _about_evaluations(learner: Learner, total: int) -> Iterator[str]:
    recipe = learner.recipe
    if not learner.heldout:
        yield f"Nothing is evaluated, because {_why_nothing_is_evaluated(recipe, learner.splits)}."
        return
    if recipe.patience is None or recipe.eval_every is None:
        return
    evaluations = math.ceil(total / recipe.eval_every)
    if evaluations < recipe.patience + 2:  # the first is the best so far, and after the last there is nothing to stop
        times = "once" if evaluations == 1 else f"{evaluations} times"
        yield (
            f"`patience` is {recipe.patience}, but the held-out loss is measured only {times}, so that the run cannot "
            "stop early. Lower `patience` or `eval_every`."
        )


def _about_rows(learner: Learner) -> Iterator[str]:
    recipe, splits = learner.recipe, learner.splits
    if learner.labels:
        yield from (f"`{key}` has no effect on a classifier." for key in _changed(recipe, *_OF_ANSWERS))
    elif all(isinstance(row, Text) for row in islice(splits.train, _ROWS)):
        changed = _changed(recipe, *_OF_COMPLETIONS)
        yield from (f"`{key}` has no effect on texts without prompts: all their tokens are trained." for key in changed)
    if splits.trials and _changed(recipe, "answer_tokens"):
        yield f"`answer_tokens` has no effect on the evaluation: the prompts of {recipe.data} have their own limits."
    if recipe.weight_decay and all(weight.dim() < 2 for weight in learner.trainable.values()):
        yield f"`weight_decay` has no effect: {recipe.method} trains vectors, and only matrices decay."


def _changed(recipe: Recipe, *keys: str) -> list[str]:
    """Those of the keys whose value is not the usual one for such a recipe."""
    usual = Recipe(**{key: getattr(recipe, key) for key in ("method", "model", "weights", "data")})
    return [key for key in keys if getattr(recipe, key) != getattr(usual, key)]


def _why_nothing_is_evaluated(recipe: Recipe, splits: Splits) -> str:
    if splits.heldout:
        return "`sample_prompts` is 0" if not recipe.sample_prompts else "`max_length` leaves nothing to evaluate"
    if Path(recipe.data).is_dir():
        return f"{recipe.data} has no held-out examples (heldout.jsonl)"
    if len(splits.train) < MIN_ROWS_TO_SPLIT:
        return f"{recipe.data} has fewer than {MIN_ROWS_TO_SPLIT} examples"
    return f"the examples of {recipe.data} are too similar to hold any out"
