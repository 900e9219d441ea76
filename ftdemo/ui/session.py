"""What a demo computes for its visitors: runs, replies, what the untrained model does, and how long a run will take."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ftdemo import measures, models, notebook, run
from ftdemo.data import BUILT_IN, Labelled, Turn, load_splits
from ftdemo.evaluate import classify
from ftdemo.events import Event, Sampled, Step
from ftdemo.generate import stream_continuation, stream_reply
from ftdemo.inspection import look
from ftdemo.methods import prepare
from ftdemo.recipe import Recipe
from ftdemo.run import Run, measure_baseline
from ftdemo.train import train
from ftdemo.ui.accelerator import on_accelerator
from ftdemo.ui.visits import LINE, Stop

_BEFORE_TRAINING = ("model", "data", "sample_prompts", "answer_tokens", "train_on", "train_stop", "max_length")
"""All of a recipe that an untrained model's losses and answers depend on."""
_PACE = (
    *("method", "model", "weights", "optimizer", "width", "layers", "vocabulary"),
    *("data", "batch_tokens", "max_length", "sample_prompts", "answer_tokens"),
)
"""All of a recipe that the pace of its steps depends on, or nearly so: the rank counts for little."""
_PACE_STEPS = 4
"""The first of them warms up."""
_SAMPLE_ROWS, _SAMPLE_TEXTS = 32, 400
"""So many rows tell how long a row is; a new tokenizer needs more of them."""
_GPU_MARGIN = 1.5


@dataclass(frozen=True)
class Pace:
    """How fast this machine carries out a recipe."""

    ready_seconds: float
    """Until the model is ready to be trained."""
    tokens_per_second: float
    look_seconds: float
    """For the held-out loss and the answers to the prompts, of a model that has hardly begun."""


_Settings = tuple[tuple[str, Any], ...]
_known: dict[_Settings, tuple[tuple[Event, ...], float]] = {}
"""What was measured of untrained models: there are as many as the demos' choices allow."""
_paces: dict[_Settings, Pace] = {}


def perform(recipe: Recipe, folder: Path, stop: Stop) -> Iterator[Event]:
    """Carry out a visitor's recipe, where the accelerator is."""
    yield from _perform(recipe.model_dump(exclude_unset=True), str(folder), str(stop.file), baseline(recipe))


def _gpu_seconds(settings: dict[str, Any], *_: Any) -> int:
    """How long an accelerator is asked for."""
    return int(_GPU_MARGIN * expected(Recipe(**settings))) + 15


@on_accelerator(_gpu_seconds)
def _perform(settings: dict[str, Any], folder: str, stop: str, known: tuple[Event, ...]) -> Iterator[Event]:
    """Of plain values alone, so that it may be done in another process."""
    yield from run.perform(Recipe(**settings), Path(folder), baseline=known, stop=Stop(Path(stop)))


def baseline(recipe: Recipe) -> tuple[Event, ...]:
    """The untrained model's held-out loss and answers, measured once for all visitors.

    Nothing is measured ahead of random weights and of a visitor's own rows: each run begins with that itself.
    """
    return _before(recipe)[0] if _is_known(recipe) else ()


def expected(recipe: Recipe) -> float:
    """How many seconds a run of this recipe should take here, from a few steps that were timed once.

    Its tokens at the measured pace, and its looks at the held-out rows and answers as long as such looks took.

    Raises:
        FtdemoError: If the recipe cannot be carried out.
    """
    pace = _pace_of(recipe)
    rows = len(load_splits(recipe.data, seed=recipe.seed, examples=recipe.examples).train)
    once = rows * _row_tokens(recipe)
    step = once / max(1, math.ceil(once / (recipe.batch_tokens * recipe.accumulate)))  # the last one is not full
    tokens = min(once * recipe.epochs, (recipe.max_steps or math.inf) * step)
    looks = 1 if baseline(recipe) else 2
    if recipe.sample_every:
        looks += int(tokens / step / recipe.sample_every)
    return pace.ready_seconds + tokens / pace.tokens_per_second + looks * pace.look_seconds


def _row_tokens(recipe: Recipe) -> float:
    """How many tokens a row has, on average over the first rows; a label's text is judged by its letters."""
    several = min(recipe.examples or _SAMPLE_TEXTS, _SAMPLE_TEXTS if recipe.method == "scratch" else _SAMPLE_ROWS)
    if recipe.is_classifier:
        rows = list(load_splits(recipe.data, seed=recipe.seed, examples=several).train)
        return sum(len(row.text) / 4 for row in rows if isinstance(row, Labelled)) / len(rows)
    return _mean_tokens(recipe.with_settings({"examples": several}).model_dump_json())


@lru_cache(maxsize=64)
def _mean_tokens(settings: str) -> float:
    lengths = look(Recipe.model_validate_json(settings)).examples.lengths
    return float(sum(lengths)) / len(lengths)


def _pace_of(recipe: Recipe) -> Pace:
    """The pace of the recipe's steps; of a visitor's own rows, that of the rows which the method is shown on."""
    own = () if recipe.data in BUILT_IN else ("data", "answer_tokens")
    settings = tuple((key, getattr(recipe, key)) for key in _PACE if key not in own)
    if settings not in _paces:
        with LINE.alone():
            _paces[settings] = _paces.get(settings) or measure_pace(dict(settings))
    found, plain = _paces[settings], Recipe(**dict(settings))
    return replace(found, look_seconds=_look_after(*_before(plain))) if _is_known(plain) else found


def _look_after(known: tuple[Event, ...], seconds: float) -> float:
    """How long a look should take once the model answers as the data does: as many times longer as its answers are."""
    answers = [answer for event in known if isinstance(event, Sampled) for answer in event.answers]
    if not answers:
        return seconds
    longest_before = max(len(answer.text) for answer in answers)
    return seconds * max(len(answer.reference) for answer in answers) / max(longest_before, 1)


def _is_known(recipe: Recipe) -> bool:
    """Whether the untrained model is the same for all visitors, and is asked the same."""
    return recipe.weights == "pretrained" and recipe.data in BUILT_IN and not recipe.is_classifier


@on_accelerator()
def measure_pace(settings: dict[str, Any]) -> Pace:
    """Take a few steps of a recipe with these settings, and time them and a look at the held-out rows."""
    rows = _SAMPLE_TEXTS if settings["method"] == "scratch" else 2 * _SAMPLE_ROWS
    recipe = Recipe(**settings, examples=rows, epochs=50, max_steps=_PACE_STEPS, eval_every=None)
    prepare(recipe)  # what is imported on the way is imported once
    began = time.perf_counter()
    learner = prepare(recipe)
    prepared = time.perf_counter() - began
    with closing(train(recipe, learner)) as events:
        steps = [event for event in events if isinstance(event, Step)]
    began = time.perf_counter()
    if not _is_known(recipe):  # else `_before` times it
        tuple(measure_baseline(learner))
    looked = time.perf_counter() - began
    first, last = steps[0], steps[-1]
    pace = (last.tokens - first.tokens) / (last.seconds - first.seconds)
    return Pace(prepared, pace, looked)


def _before(recipe: Recipe) -> tuple[tuple[Event, ...], float]:
    settings = tuple((key, getattr(recipe, key)) for key in _BEFORE_TRAINING)
    if settings not in _known:
        with LINE.alone():
            _known[settings] = _known.get(settings) or measure_before(dict(settings))
    return _known[settings]


@on_accelerator()
def measure_before(settings: dict[str, Any]) -> tuple[tuple[Event, ...], float]:
    """The held-out loss and the answers of a model that has not taken a step, and how many seconds that took."""
    learner = prepare(Recipe(**settings))
    began = time.perf_counter()
    return tuple(measure_baseline(learner)), time.perf_counter() - began


def as_zip(folder: Path, slug: str) -> str:
    """The run, or the folder of runs, as one file to download; beside a run lies a notebook that does it again.

    Args:
        folder: Where it lies.
        slug: The demo that it comes from.
    """
    if (folder / run.RECORD).exists():
        recipe = Run.load(folder).recipe
        own = {} if recipe.data in BUILT_IN else {"data": Path(recipe.data).name}
        text = notebook.of_recipe(recipe.with_settings(own), slug)
        (folder / "notebook.ipynb").write_text(text, encoding="utf-8")
    return shutil.make_archive(str(folder), "zip", folder.parent, folder.name)


@on_accelerator()
def reply(folder: str, said: str, *, before: bool = False) -> Iterator[str]:
    """What a run's model says, piece by piece: an answer, or, where it has read running text alone, what follows.

    Args:
        folder: The run's folder.
        said: What it is told.
        before: Whether the model as it was before the run is asked.
    """
    known = Run.load(Path(folder))
    model, tokenizer = _untrained(known.recipe.model) if before else _tuned(folder)
    if known.recipe.method == "scratch":
        yield from stream_continuation(model, tokenizer, said, max_new_tokens=known.reply_tokens)
    else:
        yield from stream_reply(model, tokenizer, [Turn("user", said)], max_new_tokens=known.reply_tokens)


@lru_cache(maxsize=2)
def _tuned(folder: str) -> tuple[Any, Any]:
    """A run's model and its tokenizer; the two used last stay loaded."""
    return Run.load(Path(folder)).load_model()


@lru_cache(maxsize=1)
def _untrained(model: str) -> tuple[Any, Any]:
    """A model as it is, and its tokenizer; the one used last stays loaded."""
    return models.load_ready(model)


def skill_kept(folder: Path) -> dict[str, Any]:
    """The old skill before and after a run; that of a model as it is was measured once for all visitors."""
    kept, known = _skill_kept(str(folder), _old_skills)
    _old_skills.update(known)
    return kept


_old_skills: measures.Memory = {}


@on_accelerator()
def _skill_kept(folder: str, known: measures.Memory) -> tuple[dict[str, Any], measures.Memory]:
    return measures.skill_kept(Run.load(Path(folder)), known), known


@on_accelerator()
def spectrum(folder: str) -> dict[str, Any]:
    """The singular values of what a run added to the weights: see `measures.spectrum`."""
    return measures.spectrum(Run.load(Path(folder)), {})


@on_accelerator()
def sort(folder: str, text: str) -> str:
    """Into which class a run's model sorts a text."""
    known = Run.load(Path(folder))
    (answer,) = classify(*known.load_model(), [Labelled(1, text, known.labels[0])], known.labels)
    return answer.text
