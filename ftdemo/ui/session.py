"""What a demo keeps while somebody uses it: the untrained model's baseline, each visitor's run, and how to stop it."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ftdemo import models
from ftdemo.data import BUILT_IN, Turn
from ftdemo.events import Event
from ftdemo.generate import stream_continuation, stream_reply
from ftdemo.methods import prepare
from ftdemo.recipe import Recipe
from ftdemo.run import Run, measure_baseline
from ftdemo.train import assemble, loss_sum

MODEL_QUEUE = "model"
"""Whatever computes shares this queue, one at a time: two runs at once would each take more than twice as long."""

_BEFORE_TRAINING = ("model", "data", "sample_prompts", "answer_tokens", "train_on", "train_stop", "max_length")
"""All of a recipe that an untrained model's losses and answers depend on."""

_measuring = threading.Lock()


def baseline(recipe: Recipe) -> tuple[Event, ...]:
    """The untrained model's held-out loss and answers, measured once for all visitors.

    The first call also warms the kernels up, so that the first step of the first run is as fast as the others. Nothing
    is measured ahead of random weights and of a visitor's own rows: each run begins with that itself.
    """
    if recipe.weights == "random" or recipe.data not in BUILT_IN:
        return ()
    with _measuring:
        return _baseline(tuple((key, getattr(recipe, key)) for key in _BEFORE_TRAINING))


@lru_cache(maxsize=8)
def _baseline(settings: tuple[tuple[str, Any], ...]) -> tuple[Event, ...]:
    learner = prepare(Recipe(**dict(settings)))
    events = tuple(measure_baseline(learner))
    loss_sum(learner.model, assemble(learner, learner.train, [[0], [1], [2], [3]]), learner).backward()  # type: ignore[no-untyped-call]
    return events


class Stops:
    """One stop switch for each visitor's session."""

    def __init__(self) -> None:
        self._switches: dict[str, threading.Event] = {}

    def arm(self, session: str) -> threading.Event:
        """A fresh switch for the session's new run."""
        self._switches[session] = switch = threading.Event()
        return switch

    def press(self, session: str) -> bool:
        """Stop the session's run. Says whether there was one."""
        switch = self._switches.get(session)
        if switch is None or switch.is_set():
            return False
        switch.set()
        return True

    def disarm(self, session: str) -> None:
        """Forget the session's switch: its run is over."""
        self._switches.pop(session, None)


def new_run_folder(slug: str) -> Path:
    """A place for one visitor's run: a folder nobody else is shown, removed with the session."""
    return Path(tempfile.mkdtemp(prefix=f"ftdemo-{slug}-")) / "run"


def forget(folder: str | None) -> None:
    """Remove a visitor's run from the disk."""
    if folder:
        shutil.rmtree(Path(folder).parent, ignore_errors=True)


def as_zip(folder: Path) -> str:
    """The run as one file to download."""
    return shutil.make_archive(str(folder), "zip", folder.parent, folder.name)


def reply(folder: str, said: str, *, before: bool = False) -> Iterator[str]:
    """What a run's model says, piece by piece: an answer, or, where it has read running text alone, what follows.

    Args:
        folder: The run's folder.
        said: What it is told.
        before: Whether the model as it was before the run is asked.
    """
    run = Run.load(Path(folder))
    model, tokenizer = _untrained(run.recipe.model) if before else _tuned(folder)
    if run.recipe.method == "scratch":
        return stream_continuation(model, tokenizer, said, max_new_tokens=run.reply_tokens)
    return stream_reply(model, tokenizer, [Turn("user", said)], max_new_tokens=run.reply_tokens)


@lru_cache(maxsize=2)
def _tuned(folder: str) -> tuple[Any, Any]:
    """A run's model and its tokenizer; the two used last stay loaded."""
    return Run.load(Path(folder)).load_model()


@lru_cache(maxsize=1)
def _untrained(model: str) -> tuple[Any, Any]:
    """A model as it is, and its tokenizer; the one used last stays loaded."""
    return models.load_ready(model)
