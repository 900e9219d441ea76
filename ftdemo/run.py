"""A run on disk: carried out, recorded, written under its final name only when it is whole, and read again."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import platform
import shutil
import tempfile
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ftdemo import __version__, events, export, hardware, models
from ftdemo.errors import StorageError, UsageError
from ftdemo.evaluate import judge
from ftdemo.events import Evaluated, Event, Finished, Sampled, Started, Step
from ftdemo.methods import Learner, prepare
from ftdemo.recipe import Recipe
from ftdemo.train import heldout_loss, train

RECORD = "run.json"
_NEEDED_BYTES = 64 * 2**20
"""Room to ask for before training: an adapter of SmolLM2 takes 10 MB at rank 8, its tokenizer 4."""
_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors")


@dataclass(frozen=True)
class Run:
    """A run as it lies on disk."""

    folder: Path
    record: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> Run:
        """Read a run's record.

        Raises:
            UsageError: If there is no run in the folder.
        """
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            if not {"recipe", "model", "events"} <= set(record):
                raise ValueError
        except (OSError, ValueError, TypeError):
            what = f"{folder} holds no run: {RECORD} is not there or cannot be read."
            raise UsageError(what, "Name a folder that `ftdemo train` wrote.") from None
        return cls(folder, record)

    @property
    def recipe(self) -> Recipe:
        """The recipe that was carried out."""
        return Recipe(**self.record["recipe"])

    @property
    def events(self) -> list[Event]:
        """The run's events, in order."""
        return [events.from_dict(event) for event in self.record["events"]]

    def samples(self) -> tuple[Sampled | None, Sampled | None]:
        """The answers before the first and after the last step, where they were recorded."""
        found = [event for event in self.events if isinstance(event, Sampled)]
        before = next((sample for sample in found if sample.step == 0), None)
        return before, next((sample for sample in reversed(found) if sample.step > 0), None)

    def load_model(self) -> tuple[Any, Any]:
        """The tuned model and its tokenizer, ready to answer.

        Raises:
            UsageError: If the base model here has other weights than the adapter was trained on.
        """
        import torch
        from peft import PeftModel
        from transformers import AutoTokenizer

        source = models.resolve(self.recipe.model)
        if source.sha256 != self.record["model"]["sha256"]:
            raise UsageError(
                f"{self.folder}: the adapter was trained on other weights than the {source.name} found here.",
                f"Get the weights whose SHA-256 is {self.record['model']['sha256']}, or train again.",
            )
        dtype = getattr(torch, self.record["dtype"])
        base = models.load_causal_lm(source, dtype)
        tokenizer = AutoTokenizer.from_pretrained(self.folder, trust_remote_code=False)
        model = PeftModel.from_pretrained(base, self.folder)
        return model.eval(), tokenizer


def perform(
    recipe: Recipe, out: Path, *, baseline: Sequence[Event] = (), stop: threading.Event | None = None
) -> Generator[Event]:
    """Carry out a recipe, judge the model before and after, and write everything to `out`.

    However it ends, what was trained is kept: by `stop`, by closing this generator, or by an error after the first
    step.

    Args:
        recipe: What to do.
        out: The folder to write. It may not exist.
        baseline: What `measure_baseline` gave for the same model, data and prompts, if it was asked before.
        stop: Set it to end the training after the step in hand. The model is judged and saved all the same; where no
            step was taken yet, nothing is written and there is no `Finished`.

    Yields:
        All events of `train`, an `Evaluated` and a `Sampled` before and after training, and `Finished` once the run is
        on disk.

    Raises:
        FtdemoError: If the recipe cannot be carried out, or the run cannot be written.
    """
    _refuse_existing(out)
    _require_space(out)
    learner = prepare(recipe)
    recorder = _Recorder(learner)
    try:
        for event in _carry_out(learner, baseline, stop or threading.Event()):
            recorder.add(event)
            if not isinstance(event, Finished):
                yield event
    except Exception:
        recorder.save(out, status="failed")
        raise
    except BaseException:  # Ctrl-C, or this generator was closed
        recorder.save(out, status="stopped")
        raise
    if finished := recorder.finished:
        recorder.save(out, status=finished.status)
        yield finished


def measure_baseline(learner: Learner) -> Iterator[Event]:
    """The held-out loss and the answers of a model that has not taken a step."""
    if learner.heldout:
        yield Evaluated(step=0, loss=heldout_loss(learner))
        yield _judged(learner, step=0)


def _carry_out(learner: Learner, baseline: Sequence[Event], stop: threading.Event) -> Iterator[Event]:
    """The events of training with judgement around them, `Finished` last; `stop` ends the training early."""
    finished: Finished | None = None
    with closing(train(learner.recipe, learner)) as training:
        for event in training:
            if isinstance(event, Finished):
                finished = event
                break
            yield event
            if isinstance(event, Started):
                yield from baseline or measure_baseline(learner)
                if stop.is_set():
                    break
            if isinstance(event, Step) and stop.is_set() and event.step < event.total_steps:
                finished = _stopped(event, learner)
                break
    if finished is None:
        return
    if learner.heldout:
        if finished.status == "stopped":
            yield Evaluated(step=finished.steps, loss=heldout_loss(learner))
        yield _judged(learner, step=finished.steps)
    yield finished


def _judged(learner: Learner, step: int) -> Sampled:
    rows = learner.splits.heldout[: learner.recipe.sample_prompts]
    return judge(learner.model, learner.tokenizer, rows, data=learner.recipe.data, step=step)


def _stopped(step: Step, learner: Learner) -> Finished:
    peak = hardware.peak_memory(learner.device)
    return Finished("stopped", step.step, step.tokens, step.seconds, step.tokens_per_second, peak)


class _Recorder:
    """Collects a run's events and writes the run."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner
        self._events: list[Event] = []

    def add(self, event: Event) -> None:
        self._events.append(event)

    @property
    def finished(self) -> Finished | None:
        return next(iter(self._all(Finished)), None)

    def _all(self, kind: type[Any]) -> list[Any]:
        return [event for event in self._events if isinstance(event, kind)]

    def _last(self, kind: type[Any]) -> Any:
        return self._all(kind)[-1]

    def save(self, out: Path, *, status: str) -> None:
        """Write the run under its name at once, or, where that fails, somewhere else and say where.

        A run without a single step left nothing to keep.
        """
        if not self._all(Step):
            return
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._write(out, status)
        except OSError as error:
            what = f"The run could not be written to {out}: {_reason(error)}."
            raise StorageError(what, self._rescue(status)) from None

    def _rescue(self, status: str) -> str:
        folder = Path(tempfile.mkdtemp(prefix="ftdemo-rescued-"))
        try:
            self._write(folder / "run", status)
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            return "There was no room in the system's temporary folder either. Make room and train again."
        return f"It was kept in {folder / 'run'}. Make room, then move it."

    def _write(self, out: Path, status: str) -> None:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
            new = Path(temporary) / out.name
            new.mkdir()
            export.save_adapter(self._learner, new)
            record = self._record(status)
            (new / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            (new / "recipe.yaml").write_text(self._learner.recipe.to_yaml(), encoding="utf-8")
            (new / "README.md").write_text(export.model_card(record), encoding="utf-8")
            new.replace(out)

    def _record(self, status: str) -> dict[str, Any]:
        learner, last = self._learner, self._last(Step)
        samples = {("before", "after")[sample.step > 0]: sample.scores for sample in self._all(Sampled)}
        losses = [event.loss for event in self._all(Evaluated)]
        source = asdict(learner.source)
        del source["path"]  # of this machine alone
        return {
            "version": 1,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "status": status,
            "recipe": learner.recipe.model_dump(mode="json"),
            "model": source,
            "dtype": str(learner.dtype).removeprefix("torch."),
            "versions": versions(),
            "hardware": hardware.describe(learner.device),
            "scores": samples,
            "heldout_loss": {"before": losses[0], "after": losses[-1]} if losses else {},
            "steps": last.step,
            "tokens": last.tokens,
            "seconds": last.seconds,
            "tokens_per_second": last.tokens_per_second,
            "peak_memory_bytes": hardware.peak_memory(learner.device),
            "events": [events.to_dict(event) for event in self._events],
        }


def versions() -> dict[str, str]:
    """The versions that decide a run's numbers."""
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"ftdemo": __version__, "python": platform.python_version()} | libraries


def _refuse_existing(out: Path) -> None:
    if out.exists():
        raise UsageError(f"{out} is there already.", "Nothing is overwritten: give another name with `--out`.")


def _require_space(out: Path) -> None:
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{folder} may not be written to.", "Give another place with `--out`.")
    if shutil.disk_usage(folder).free < _NEEDED_BYTES:
        what = f"The disk that holds {folder} is full: a run needs about {_NEEDED_BYTES // 2**20} MB."
        raise StorageError(what, "Make room, or give another place with `--out`.")


def _reason(error: OSError) -> str:
    return "the disk is full" if error.errno == errno.ENOSPC else str(error.strerror or error)
