"""Chooses the learning rate of an arm: a trial run for each rate, judged by its loss on rows put aside for that.

These rows come from the arm's own training examples, so the held-out examples, by which arms are compared, have no
part in it.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ftdemo.data import Splits, load_splits
from ftdemo.data.atomic import atomic_write
from ftdemo.data.split import validation_split
from ftdemo.data.variants import write_variant
from ftdemo.errors import DataError, RecipeError, TrainingError, UsageError, writing
from ftdemo.events import Evaluated, Event
from ftdemo.experiments.spec import Spec
from ftdemo.recipe import Recipe
from ftdemo.runs import save
from ftdemo.training import hardware
from ftdemo.training.loop import train
from ftdemo.training.prepare import prepare

_ALL_ROWS = 1000
"""As `sample_prompts`, more than there are rows to validate by: of chats, those that are answered have a loss."""


@dataclass
class Trials:
    """The learning rates that were tried for an arm, and what each led to."""

    losses: dict[float, float | None] = field(default_factory=dict)
    """The validation loss by learning rate, in nats per token or label; none where training diverged."""
    train_rows: int = 0
    validation_rows: int = 0
    seconds: float = 0.0

    @property
    def best(self) -> float:
        """The rate with the lowest loss.

        Raises:
            TrainingError: If training diverged at every rate.
        """
        finite = {rate: loss for rate, loss in self.losses.items() if loss is not None}
        if not finite:
            raise TrainingError("Training diverged at every learning rate of a sweep.", "Give lower `rates`.")
        return min(finite, key=finite.__getitem__)

    def next_rate(self, grid: tuple[float, ...], extend: int) -> float | None:
        """The rate to try next; none once the best lies between two others, or as many as allowed were added.

        Args:
            grid: The rates to try first. Their mean ratio is that of the rates which are added at an end.
            extend: How many may be added.
        """
        for rate in grid:
            if rate not in self.losses:
                return rate
        added = len(self.losses) - len(grid)
        if added >= extend or not self.at_edge:
            return None
        ratio = (grid[-1] / grid[0]) ** (1 / (len(grid) - 1))
        above = self.best == max(self.losses)
        steps = 1 + sum(rate > grid[-1] if above else rate < grid[0] for rate in self.losses)
        exact = grid[-1] * ratio**steps if above else grid[0] / ratio**steps
        rounded = float(f"{exact:.1g}" if ratio >= 2 else f"{exact:.2g}")
        return rounded if 0 < rounded <= 1 and rounded not in self.losses else None

    @property
    def at_edge(self) -> bool:
        """Whether the best rate is the lowest or the highest that was tried, so that a better one may lie beyond."""
        return self.best in (min(self.losses), max(self.losses))

    def as_record(self, seed: int) -> dict[str, Any]:
        """Plain values, rates in order, as a run's record has them."""
        return {
            "best": self.best,
            "losses": {f"{rate:g}": self.losses[rate] for rate in sorted(self.losses)},
            "at_edge": self.at_edge,
            "seed": seed,
            "train_rows": self.train_rows,
            "validation_rows": self.validation_rows,
            "seconds": round(self.seconds, 1),
        }


def sweep_rates(
    spec: Spec, name: str, folder: Path, chosen: Mapping[str, float]
) -> Generator[tuple[float | None, Event], None, Trials]:
    """Try the learning rates of an arm, each with the same seed and on the same rows.

    Trials that were carried out are kept in `folder`, and not repeated.

    Args:
        spec: The experiment.
        name: The arm, which has `rates`.
        folder: Where the runs are kept.
        chosen: The learning rates that earlier sweeps chose, by arm.

    Yields:
        The rate that is tried, none while a model to start from is trained, and an event.

    Returns:
        What each rate led to.

    Raises:
        FtdemoError: If a trial cannot be carried out, or the arm has too few rows to put some aside.
    """
    arm, file = spec.arms[name], folder / f"{name}-sweep.json"
    recipe = _trial_recipe(spec.recipe_of(name, spec.sweep.seed, quick=False))
    settings: dict[str, Any] = {
        "recipe": recipe.model_dump(mode="json", exclude={"lr"}),
        "arm": arm.model_dump(mode="json"),
        "sweep": spec.sweep.model_dump(mode="json"),
        "threads": spec.numerics.threads,
        "start_rate": chosen.get(spec.swept_arm(arm.start) or "") if arm.start else None,
    }
    tried = _read_trials(file, settings)
    if tried.next_rate(arm.rates, spec.sweep.extend) is None:
        return tried
    splits = _split_rows(spec, name, recipe, folder)
    tried.train_rows, tried.validation_rows = len(splits.train), len(splits.heldout)
    if arm.start:
        model = yield from _start_of_trials(spec, name, folder, splits, chosen)
        recipe = recipe.with_settings({"model": model})
    while (rate := tried.next_rate(arm.rates, spec.sweep.extend)) is not None:
        began = time.perf_counter()
        tried.losses[rate] = yield from _validation_loss(recipe.with_settings({"lr": rate}), splits)
        hardware.give_memory_back()  # the trial's model is gone by now, and the next one needs its memory
        tried.seconds += time.perf_counter() - began
        _write_trials(file, settings, tried)
    return tried


def _split_rows(spec: Spec, name: str, recipe: Recipe, folder: Path) -> Splits:
    """The arm's training examples, changed as its runs change them, and split.

    Raises:
        RecipeError: If there are too few.
    """
    arm, seed, data, examples = spec.arms[name], spec.sweep.seed, recipe.data, recipe.examples
    if arm.rows:
        data = str(folder / f"{name}-sweep-rows")
        write_variant(recipe.data, Path(data), seed=seed, examples=examples, **arm.rows.model_dump())
        examples = None
    loaded = load_splits(data, seed=seed, examples=examples)
    try:
        splits = validation_split(loaded.train, share=spec.sweep.share, seed=seed, data=recipe.data)
        return replace(splits, in_order=loaded.in_order)
    except DataError as error:
        remedy = "Use the learning rate of an arm with more examples: `rate_of` instead of `rates`."
        raise RecipeError(f"The arm `{name}` cannot have a sweep. {error.what}", remedy) from None


def _trial_recipe(recipe: Recipe) -> Recipe:
    """An arm's recipe as a trial carries it out: with a loss at the end alone, of all rows that validate."""
    settings: dict[str, Any] = {"sample_prompts": _ALL_ROWS, "sample_every": None, "save_every": None}
    if recipe.patience is None:
        settings["eval_every"] = None
    return recipe.with_settings(settings)


def _validation_loss(recipe: Recipe, splits: Splits) -> Generator[tuple[float, Event], None, float | None]:
    """Train, answer nothing and save nothing; the loss at the end, or the lowest where that is what a run keeps."""
    losses = []
    try:
        learner = prepare(recipe, splits)
        for event in train(learner.recipe, learner):
            if isinstance(event, Evaluated):
                losses.append(event.loss)
            yield recipe.peak_lr, event
    except TrainingError:  # the rate is too high: what a sweep is there to find
        return None
    loss = losses[-1] if recipe.patience is None else min(losses)
    return round(loss, 5) if math.isfinite(loss) else None


def _start_of_trials(
    spec: Spec, name: str, folder: Path, splits: Splits, chosen: Mapping[str, float]
) -> Generator[tuple[None, Event], None, str]:
    """The model that the trials of an arm start from.

    Where the arm to start from learnt from the same data, it is trained again without the rows put aside: it would
    else know them, and favour rates at which little is unlearnt.
    """
    start = str(spec.arms[name].start)
    swept = spec.swept_arm(start)
    recipe = spec.recipe_of(start, spec.sweep.seed, quick=False, lr=chosen.get(swept) if swept else None)
    if recipe.data != spec.recipe_of(name, spec.sweep.seed, quick=False).data:
        return str(folder / f"{start}-{spec.seeds[0]}")
    out = folder / f"{name}-sweep-start"
    if not out.exists():
        before = spec.arms[start].start
        changes = {"model": str(folder / f"{before}-{spec.seeds[0]}")} if before else {}
        learner = prepare(_trial_recipe(recipe).with_settings(changes), splits)
        for event in train(learner.recipe, learner):
            yield None, event
        with atomic_write(out) as new:
            save.save_model(learner, new)
    return str(out)


def _read_trials(file: Path, settings: dict[str, Any]) -> Trials:
    """The trials that were carried out earlier.

    Raises:
        UsageError: If they were others.
    """
    if not file.exists():
        return Trials()
    done = json.loads(file.read_text(encoding="utf-8"))
    if done["asked"] != settings:
        raise UsageError(f"{file} belongs to another version of this experiment.", "Name another folder with `--keep`.")
    losses = {float(rate): loss for rate, loss in done["losses"].items()}
    return Trials(losses, done["train_rows"], done["validation_rows"], done["seconds"])


def _write_trials(file: Path, settings: dict[str, Any], tried: Trials) -> None:
    losses = {repr(rate): loss for rate, loss in tried.losses.items()}
    text = json.dumps({"asked": settings, **vars(tried), "losses": losses})
    with writing(file, "Make room."), atomic_write(file, replace=True) as new:
        new.write_text(text, encoding="utf-8")
