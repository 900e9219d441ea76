"""What a demo computes for its visitors: runs, replies, what the untrained model does, and how long a run will take."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from ftdemo.comparison.approaches import Approach, Prompts, Reply, Task, answer_question
from ftdemo.data import BUILT_IN, Labelled, Turn
from ftdemo.estimate import throughput
from ftdemo.estimate.throughput import Throughput
from ftdemo.evaluation.evaluate import classify
from ftdemo.evaluation.generate import stream_continuation, stream_reply
from ftdemo.events import Event
from ftdemo.models import load as models
from ftdemo.recipe import Recipe
from ftdemo.runs import notebook, run, run_metrics
from ftdemo.runs import perform as runs
from ftdemo.runs.perform import measure_baseline
from ftdemo.runs.run import Run
from ftdemo.training.methods import prepare
from ftdemo.ui.accelerator import on_accelerator
from ftdemo.ui.visits import LINE, Stop

_BEFORE_TRAINING = ("model", "data", "sample_prompts", "answer_tokens", "train_on", "train_stop", "max_length")
"""All of a recipe that an untrained model's losses and answers depend on."""
_PACE = (
    *("method", "model", "weights", "optimizer", "width", "layers", "vocabulary"),
    *("data", "batch_tokens", "max_length", "sample_prompts", "answer_tokens"),
)
"""All of a recipe that the pace of its steps depends on, or nearly so: the rank counts for little."""
_GPU_MARGIN = 1.5


_Settings = tuple[tuple[str, Any], ...]
_known: dict[_Settings, tuple[tuple[Event, ...], float]] = {}
"""What was measured of untrained models: there are as many as the demos' choices allow."""
_paces: dict[_Settings, Throughput] = {}


def perform(recipe: Recipe, folder: Path, stop: Stop) -> Iterator[Event]:
    """Carry out a visitor's recipe, where the accelerator is."""
    yield from _perform(recipe.model_dump(exclude_unset=True), str(folder), str(stop.file), baseline(recipe))


def _gpu_seconds(settings: dict[str, Any], *_: Any) -> int:
    """How long an accelerator is asked for."""
    return int(_GPU_MARGIN * expected(Recipe(**settings))) + 15


@on_accelerator(_gpu_seconds)
def _perform(settings: dict[str, Any], folder: str, stop: str, known: tuple[Event, ...]) -> Iterator[Event]:
    """Of plain values alone, so that it may be done in another process."""
    yield from runs.perform(Recipe(**settings), Path(folder), baseline=known, stop=Stop(Path(stop)))


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
    return throughput.run_seconds(recipe, _pace_of(recipe), looks=1 if baseline(recipe) else 2)


def _pace_of(recipe: Recipe) -> Throughput:
    """The pace of the recipe's steps; of a visitor's own rows, that of the rows which the method is shown on."""
    own = () if recipe.data in BUILT_IN else ("data", "answer_tokens")
    settings = tuple((key, getattr(recipe, key)) for key in _PACE if key not in own)
    if settings not in _paces:
        with LINE.alone():
            _paces[settings] = _paces.get(settings) or measure_pace(dict(settings))
    found, plain = _paces[settings], Recipe(**dict(settings))
    return (
        replace(found, look_seconds=throughput.evaluation_seconds_when_tuned(*_before(plain)))
        if _is_known(plain)
        else found
    )


def _is_known(recipe: Recipe) -> bool:
    """Whether the untrained model is the same for all visitors, and is asked the same."""
    return recipe.weights == "pretrained" and recipe.data in BUILT_IN and not recipe.is_classifier


@on_accelerator()
def measure_pace(settings: dict[str, Any]) -> Throughput:
    """Take a few steps of a recipe with these settings, and time them and a look at the held-out rows."""
    recipe = Recipe(**settings)
    return throughput.measure_throughput(recipe, looks=not _is_known(recipe))  # else `_before` times it


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


_old_skills: run_metrics.Memo = {}


@on_accelerator()
def _skill_kept(folder: str, known: run_metrics.Memo) -> tuple[dict[str, Any], run_metrics.Memo]:
    return run_metrics.skill_kept(Run.load(Path(folder)), known), known


@on_accelerator()
def spectrum(folder: str) -> dict[str, Any]:
    """The singular values of what a run added to the weights: see `run_metrics.spectrum`."""
    return run_metrics.spectrum(Run.load(Path(folder)), {})


@on_accelerator()
def ask(approach: Approach, question: str, task: Task, settings: dict[str, Any], folder: str) -> Reply:
    """The answer to one question by one approach.

    Args:
        approach: The approach.
        question: What is asked.
        task: With the notes as they are now.
        settings: The recipe that tunes for it.
        folder: The run of the tuned model; nothing where the approach needs none.
    """
    recipe = Recipe(**settings)
    model, tokenizer = _tuned(folder) if folder else _untrained(recipe.model)
    prompts = Prompts.of(task, recipe)
    return answer_question(approach, question, prompts, model, tokenizer, max_new_tokens=recipe.answer_tokens)


@on_accelerator()
def sort(folder: str, text: str) -> str:
    """Into which class a run's model sorts a text."""
    known = Run.load(Path(folder))
    (answer,) = classify(*known.load_model(), [Labelled(1, text, known.labels[0])], known.labels)
    return answer.text
