"""What a demo computes for its visitors: training runs, answers, baselines, and predictions of how long a run takes."""

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
from ftdemo.errors import writing
from ftdemo.estimate import throughput
from ftdemo.estimate.throughput import Throughput
from ftdemo.evaluation.evaluate import classify
from ftdemo.evaluation.generate import stream_continuation, stream_reply
from ftdemo.events import Event
from ftdemo.models import load as models
from ftdemo.recipe import Recipe
from ftdemo.runs import notebook, run, run_metrics, save
from ftdemo.runs.perform import measure_baseline, perform
from ftdemo.runs.run import Run
from ftdemo.training.prepare import prepare
from ftdemo.ui.accelerator import on_accelerator
from ftdemo.ui.job_queue import JOB_QUEUE, StopFile

_BASELINE_SETTINGS = ("model", "data", "sample_prompts", "answer_tokens", "train_on", "train_stop", "max_length")
"""All of a recipe that an untrained model's losses and answers depend on."""
_THROUGHPUT_SETTINGS = (
    *("method", "model", "weights", "optimizer", "width", "layers", "vocabulary"),
    *("data", "batch_tokens", "max_length", "sample_prompts", "answer_tokens"),
)
"""All of a recipe that its throughput depends on, or nearly so: the rank counts for little."""
_GPU_MARGIN = 1.5


_Settings = tuple[tuple[str, Any], ...]
_baselines: dict[_Settings, tuple[tuple[Event, ...], float]] = {}
"""Measured on untrained models: as many as the demos' choices allow."""
_throughputs: dict[_Settings, Throughput] = {}


def run_recipe(recipe: Recipe, folder: Path, stop: StopFile) -> Iterator[Event]:
    """Carry out a visitor's recipe where the accelerator is."""
    yield from _run_recipe(recipe.model_dump(exclude_unset=True), str(folder), str(stop.file), baseline_events(recipe))


def _gpu_seconds(settings: dict[str, Any], *_: Any) -> int:
    """How long an accelerator is requested for."""
    return int(_GPU_MARGIN * predicted_seconds(Recipe(**settings))) + 15


@on_accelerator(_gpu_seconds)
def _run_recipe(settings: dict[str, Any], folder: str, stop: str, baseline: tuple[Event, ...]) -> Iterator[Event]:
    """Takes plain values only, so that another process can do it."""
    yield from perform(Recipe(**settings), Path(folder), baseline=baseline, stop=StopFile(Path(stop)))


def baseline_events(recipe: Recipe) -> tuple[Event, ...]:
    """The untrained model's held-out loss and answers, measured once for all visitors.

    There are none for random weights or a visitor's own rows: each such run begins by measuring them itself.
    """
    return _baseline(recipe)[0] if _is_shared(recipe) else ()


def predicted_seconds(recipe: Recipe) -> float:
    """How many seconds a run of this recipe should take here, from a few steps that were timed once.

    Its tokens take as long as the measured throughput says, and each evaluation as long as the measured one.

    Raises:
        FtdemoError: If the recipe cannot be carried out.
    """
    return throughput.run_seconds(recipe, _throughput(recipe), evaluations=1 if baseline_events(recipe) else 2)


def _throughput(recipe: Recipe) -> Throughput:
    """The recipe's throughput; for a visitor's own rows, the one for the method's built-in rows."""
    own = () if recipe.data in BUILT_IN else ("data", "answer_tokens")
    settings = tuple((key, getattr(recipe, key)) for key in _THROUGHPUT_SETTINGS if key not in own)
    if settings not in _throughputs:
        with JOB_QUEUE.exclusive():
            _throughputs[settings] = _throughputs.get(settings) or _measure_throughput(dict(settings))
    measured, usual = _throughputs[settings], Recipe(**dict(settings))
    if not _is_shared(usual):
        return measured
    return replace(measured, evaluation_seconds=throughput.evaluation_seconds_when_tuned(*_baseline(usual)))


def _is_shared(recipe: Recipe) -> bool:
    """Whether all visitors start from the same model and evaluate it on the same prompts."""
    return recipe.weights == "pretrained" and recipe.data in BUILT_IN and not recipe.is_classifier


@on_accelerator()
def _measure_throughput(settings: dict[str, Any]) -> Throughput:
    """Take a few steps of a recipe with these settings, and time them and an evaluation."""
    recipe = Recipe(**settings)
    return throughput.measure_throughput(recipe, evaluate=not _is_shared(recipe))  # else `_baseline` times it


def _baseline(recipe: Recipe) -> tuple[tuple[Event, ...], float]:
    settings = tuple((key, getattr(recipe, key)) for key in _BASELINE_SETTINGS)
    if settings not in _baselines:
        with JOB_QUEUE.exclusive():
            _baselines[settings] = _baselines.get(settings) or _measure_untrained(dict(settings))
    return _baselines[settings]


@on_accelerator()
def _measure_untrained(settings: dict[str, Any]) -> tuple[tuple[Event, ...], float]:
    """The held-out loss and the answers of a model that has not taken a step, and how many seconds that took."""
    learner = prepare(Recipe(**settings))
    began = time.perf_counter()
    return tuple(measure_baseline(learner)), time.perf_counter() - began


def zip_run(folder: Path, slug: str) -> str:
    """The run, or the folder of runs, as one file to download; a run comes with a notebook that repeats it.

    Args:
        folder: The folder.
        slug: The demo that it comes from.

    Raises:
        StorageError: If the server's disk is full.
    """
    with writing("The file to download", "Try again later."):
        if (folder / run.RECORD).exists():
            recipe = save.without_folders(Run.load(folder).recipe)
            (folder / "notebook.ipynb").write_text(notebook.of_recipe(recipe, slug), encoding="utf-8")
            (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
        return shutil.make_archive(str(folder), "zip", folder.parent, folder.name)


@on_accelerator()
def stream_answer(folder: str, prompt: str, *, before: bool = False) -> Iterator[str]:
    """A run's model's answer, piece by piece; a model trained on running text alone continues the prompt.

    Args:
        folder: The run's folder.
        prompt: The visitor's message.
        before: Whether the model as it was before the run answers.
    """
    known = Run.load(Path(folder))
    model, tokenizer = _untrained(known.recipe.model) if before else _tuned(folder)
    if known.recipe.starts_new:
        yield from stream_continuation(model, tokenizer, prompt, max_new_tokens=known.reply_tokens)
    else:
        yield from stream_reply(model, tokenizer, [Turn("user", prompt)], max_new_tokens=known.reply_tokens)


@lru_cache(maxsize=2)
def _tuned(folder: str) -> tuple[Any, Any]:
    """A run's model and its tokenizer; the last two used stay loaded."""
    return Run.load(Path(folder)).load_model()


@lru_cache(maxsize=1)
def _untrained(model: str) -> tuple[Any, Any]:
    """An untrained model and its tokenizer; the last one used stays loaded."""
    return models.load_ready(model)


def measure_forgetting(folder: Path) -> dict[str, Any]:
    """The old skill before and after a run: see `run_metrics.skill_kept`. Before, it is measured once for all."""
    measured, known = _measure_forgetting(str(folder), _old_skills)
    _old_skills.update(known)
    return measured


_old_skills: run_metrics.Memo = {}


@on_accelerator()
def _measure_forgetting(folder: str, known: run_metrics.Memo) -> tuple[dict[str, Any], run_metrics.Memo]:
    return run_metrics.skill_kept(Run.load(Path(folder)), known), known


@on_accelerator()
def update_spectrum(folder: str) -> dict[str, Any]:
    """The singular values of what a run added to the weights: see `run_metrics.spectrum`."""
    return run_metrics.spectrum(Run.load(Path(folder)), {})[0]


@on_accelerator()
def answer_by_approach(approach: Approach, question: str, task: Task, settings: dict[str, Any], folder: str) -> Reply:
    """One model's reply to a question by one approach.

    Args:
        approach: The approach.
        question: The visitor's question.
        task: The task, with its current notes.
        settings: The recipe that tunes a model for it.
        folder: The run of the tuned model; empty if the approach needs none.
    """
    recipe = Recipe(**settings)
    model, tokenizer = _tuned(folder) if folder else _untrained(recipe.model)
    prompts = Prompts.of(task, recipe)
    return answer_question(approach, question, prompts, model, tokenizer, max_new_tokens=recipe.answer_tokens)


@on_accelerator()
def classify_text(folder: str, text: str) -> str:
    """The class that a run's model predicts for a text."""
    known = Run.load(Path(folder))
    (answer,) = classify(*known.load_model(), [Labelled(1, text, known.labels[0])], known.labels)
    return answer.text
