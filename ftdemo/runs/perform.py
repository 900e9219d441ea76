"""Carries out a recipe as a run: trains, evaluates before and after, and writes a run that is whole or not there."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from ftdemo import events
from ftdemo.data.atomic import atomic_write, require_place, require_space, require_writable
from ftdemo.errors import StorageError, as_os_error, shell_line, system_reason
from ftdemo.evaluation.evaluate import answer_and_score, confusion
from ftdemo.events import Evaluated, Event, Finished, Sampled, Started, Step
from ftdemo.models import load as models
from ftdemo.models.pooling import name_of_pooled_head
from ftdemo.recipe import Recipe
from ftdemo.runs import save
from ftdemo.runs.heldout import refuse_changed_rows
from ftdemo.runs.run import RECORD, Run, versions
from ftdemo.training import checkpoint, distributed, hardware
from ftdemo.training.early_stop import TrainingState
from ftdemo.training.learner import Learner
from ftdemo.training.loop import evaluate_heldout, finished, train
from ftdemo.training.prepare import prepare

_RECORD_BYTES = 8 * 2**20
"""Room to ask for besides the weights: a few hundred bytes for each step, and a few thousand for each answer."""
_REMEDY = "Name another folder with `--out`."


class Switch(Protocol):
    """Stops a run: a `threading.Event`, or anything like one."""

    def is_set(self) -> bool:
        """Whether the run should stop."""

    def set(self) -> None:
        """Make the run stop."""


def perform(
    recipe: Recipe,
    out: Path,
    *,
    baseline: Sequence[Event] = (),
    stop: Switch | None = None,
    resume: Run | None = None,
) -> Generator[Event]:
    """Carry out a recipe, evaluate the model before and after, and write everything to `out`.

    However the run ends, what was trained is kept: after `stop`, after closing this generator, or after an error, once
    there was a first step; and every `save_every` steps, in case the process is killed. An unfinished run holds a
    checkpoint, from which it can be resumed.

    Args:
        recipe: What to do.
        out: The folder to write. It may not exist, unless its run is resumed.
        baseline: What `measure_baseline` gave for the same model, data and prompts, if it was measured before.
        stop: Set it to end the training after the current step. The model is evaluated and saved all the same; before
            the first step, nothing is written and there is no `Finished`.
        resume: A run of the same recipe to resume from its last step.

    Yields:
        All events of `train`, an `Evaluated` and a `Sampled` before and after training, and `Finished` once the run is
        on disk. A resumed run yields the new ones only.

    Raises:
        FtdemoError: If the recipe cannot be carried out, or the run cannot be written.
    """
    if resume is None:
        require_place(out, _REMEDY)
    else:
        require_writable(out.absolute().parent, _REMEDY)
        resume.refuse_lost_base("Restore the model there to resume the run.")
    with distributed.explaining_lost_peers(out):
        learner = prepare(_with_one_dtype(recipe, resume))
        if resume:
            refuse_changed_rows(resume, learner.row_hashes)
        _require_space(out, learner)
        progress = checkpoint.load_checkpoint(learner, resume.folder) if resume else TrainingState()
        recorder = _Recorder(learner, progress, out, resume)
        yield from _recorded(learner, progress, baseline, stop or threading.Event(), recorder)


def _with_one_dtype(recipe: Recipe, resume: Run | None) -> Recipe:
    """The recipe for all of this run: one process chooses the number format for all, and a resumed run keeps its own.

    It may be resumed on another machine, which would choose another one.
    """
    device = hardware.pick_device(recipe.device)
    distributed.join(device)
    if recipe.dtype != "auto":
        return recipe
    own = hardware.pick_dtype("auto", device).name
    chosen = str(resume.record["dtype"]) if resume else own
    if distributed.world_size() == 1:
        return recipe if chosen == own else recipe.with_settings({"dtype": chosen})
    return recipe.with_settings({"dtype": distributed.broadcast(chosen if distributed.is_main() else None)})


def _recorded(
    learner: Learner, progress: TrainingState, baseline: Sequence[Event], stop: Switch, recorder: _Recorder
) -> Generator[Event]:
    """The events of a run, which is written however it ends."""
    try:
        for event in _train_and_evaluate(learner, progress, baseline, stop, recorder):
            recorder.add(event)
            if not isinstance(event, Finished):
                yield event
        if recorder.finished:
            recorder.save(status=recorder.finished.status)
    except Exception:
        recorder.save(status="failed", alone=True)
        raise
    except BaseException:  # Ctrl-C, or this generator was closed
        recorder.save(status=recorder.finished.status if recorder.finished else "stopped", alone=True)
        raise
    if recorder.finished:
        yield recorder.finished


def measure_baseline(learner: Learner, stop: Switch | None = None) -> Iterator[Event]:
    """The held-out loss and the answers of a model before its first step; a stop cuts the answers short."""
    if learner.heldout:
        yield evaluate_heldout(learner, step=0)
        yield _answer_prompts(learner, 0, stop)


def _train_and_evaluate(
    learner: Learner, progress: TrainingState, baseline: Sequence[Event], stop: Switch, recorder: _Recorder
) -> Iterator[Event]:
    """The events of training and of the evaluations around it, `Finished` last; `stop` ends the training early."""
    ended: Finished | None = None
    with closing(train(learner.recipe, learner, progress)) as training:
        for event in training:
            if isinstance(event, Finished):
                ended = event
                break
            yield event
            if isinstance(event, Started) and not progress.step:
                yield from baseline or _until_stopped(stop, measure_baseline(learner, stop))
                hardware.give_memory_back()  # training needs the memory that answering took
                if _is_stopped(stop):
                    break
            if isinstance(event, Step) and event.step < event.total_steps and _is_stopped(stop):
                recorder.save(status="stopped")  # at once: the process may be killed before the model is evaluated
                ended = finished("stopped", learner, progress)
                break
            if learner.heldout and isinstance(event, Step) and _is_sampled(event, learner.recipe):
                yield from _until_stopped(stop, [_answer_prompts(learner, event.step, stop)])
    if ended is None:
        return
    if learner.heldout:
        if ended.status == "stopped":
            yield evaluate_heldout(learner, ended.steps)
        yield _answer_prompts(learner, step=ended.steps)
    yield ended


def _is_sampled(event: Step, recipe: Recipe) -> bool:
    """Whether prompts are answered after this step; after the last step they are answered anyway."""
    return bool(recipe.sample_every) and event.step % (recipe.sample_every or 1) == 0 and event.step < event.total_steps


def _is_stopped(stop: Switch) -> bool:
    """Whether any process of the run should stop; then all do, at the same step."""
    stopped = distributed.any_process(stop.is_set())
    if stopped:
        stop.set()
    return stopped


def _until_stopped(stop: Switch, events: Iterable[Event]) -> Iterator[Event]:
    """The events until the run is stopped; one that was incomplete then is left out."""
    for event in events:
        if _is_stopped(stop):
            return
        yield event


def _answer_prompts(learner: Learner, step: int, stop: Switch | None = None) -> Sampled:
    """The model's answers to the held-out prompts; in a run of one process, a stop cuts them short."""
    rows, recipe = learner.splits.prompts, learner.recipe
    return answer_and_score(
        learner.model,
        learner.tokenizer,
        rows if learner.labels else rows[: recipe.sample_prompts],
        data=recipe.data,
        step=step,
        labels=learner.labels,
        answer_tokens=recipe.answer_tokens,
        until=stop.is_set if stop and distributed.world_size() == 1 else None,
    )


@dataclass(frozen=True)
class _Tensors:
    """The tensors to write, gathered from all processes of the run."""

    model: dict[str, Any] | None
    """See `save.gather_weights`."""
    checkpoint: dict[str, Any]
    """See `checkpoint.gather_checkpoint`; empty for a completed run."""


class _Recorder:
    """Collects a run's events and writes the run; in a run of several processes only the main one writes."""

    def __init__(self, learner: Learner, progress: TrainingState, out: Path, resume: Run | None) -> None:
        self._learner = learner
        self._progress = progress
        self._out = out
        self._resumed = bool(resume)
        self._own = _identity(out) if resume else None
        """The folder that a later save may replace: the resumed run's, or the one that was written last."""
        self._has_failed = False
        recipe = learner.recipe
        self._events = [event for event in resume.events if _is_kept(event, progress, recipe)] if resume else []

    def add(self, event: Event) -> None:
        """Add an event, and save the run if its recipe says so."""
        if not (self._resumed and isinstance(event, Started)):
            self._events.append(event)
        every = self._learner.recipe.save_every
        if every and isinstance(event, Step) and event.step % every == 0 and event.step < event.total_steps:
            self.save(status="running")

    @property
    def finished(self) -> Finished | None:
        """The event that ended the run; None while it continues."""
        return next(iter(self._all(Finished)), None)

    def _all(self, kind: type[Any]) -> list[Any]:
        return [event for event in self._events if isinstance(event, kind)]

    def _last(self, kind: type[Any]) -> Any:
        return self._all(kind)[-1]

    def save(self, *, status: str, alone: bool = False) -> None:
        """Write the run under its name, or, if that fails, somewhere else and say where; after that, no more.

        A run without a single step has nothing to keep.

        Args:
            status: The run's status.
            alone: Whether the other processes may be elsewhere, or gone. Their shards cannot be gathered then, so the
                last checkpoint stays.

        Raises:
            StorageError: If it could not be written under its name.
        """
        out_of_reach = alone and distributed.has_sharded_weights(self._learner.model)
        if self._has_failed or out_of_reach or not self._all(Step):
            return
        tensors = _Tensors(
            model=save.gather_weights(self._learner),
            checkpoint={} if status == "completed" else checkpoint.gather_checkpoint(self._learner, self._progress),
        )
        if not distributed.is_main():
            return
        try:
            self._write(self._out, status, tensors)
        except Exception as error:
            refused = as_os_error(error)
            if refused is None:
                raise
            self._has_failed = True
            what = f"The run could not be written to {self._out}: {_why(refused)}."
            raise StorageError(what, self._rescue(status, tensors)) from None
        self._own = _identity(self._out)

    def _rescue(self, status: str, tensors: _Tensors) -> str:
        """Write the run somewhere else, or without its checkpoint, and say where it is."""
        beside, temporary = self._out.absolute().parent, Path(tempfile.gettempdir())
        attempts = [(beside, tensors), (temporary, tensors), (beside, replace(tensors, checkpoint={}))]
        for folder, kept in attempts:
            place: Path | None = None
            try:
                place = Path(tempfile.mkdtemp(prefix="ftdemo-rescued-", dir=folder))
                self._write(place / "run", status, kept)
            except Exception as error:
                if place:
                    shutil.rmtree(place, ignore_errors=True)
                if as_os_error(error) is None:
                    raise
            else:
                cut = tensors.checkpoint and not kept.checkpoint
                missing = " It cannot be resumed, because there was no disk space for its checkpoint." if cut else ""
                return f"It was kept in {place / 'run'}.{missing} Move it to a place with enough disk space."
        command = shell_line("ftdemo", "train", "--resume", str(self._out))
        before = f" Resume from its last checkpoint: {command}" if self._own else ""
        return f"There was no disk space in the system's temporary folder either. Free some and train again.{before}"

    def _write(self, out: Path, status: str, tensors: _Tensors) -> None:
        is_own = self._own is not None and out.exists() and _identity(out) == self._own
        with atomic_write(out, replace=is_own) as new:
            new.mkdir()
            save.save_model(self._learner, new, tensors.model)
            if tensors.checkpoint:
                checkpoint.save_checkpoint(tensors.checkpoint, self._progress, new)
            record = self._record(status)
            (new / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            (new / "recipe.yaml").write_text(self._learner.recipe.to_yaml(), encoding="utf-8")
            (new / "README.md").write_text(save.model_card(record), encoding="utf-8")
            if is_own:
                _copy_foreign(out, new)

    def _record(self, status: str) -> dict[str, Any]:
        learner, last = self._learner, self._last(Step)
        samples = {("before", "after")[sample.step > 0]: sample.scores for sample in self._all(Sampled)}
        losses = {event.step: event.loss for event in self._all(Evaluated)}
        kept = self.finished.best_step if self.finished else None
        source = asdict(learner.source) | {"vocabulary": models.vocabulary_hash(learner.tokenizer)}
        del source["path"]  # of this machine alone
        return {
            "version": 2,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "status": status,
            "recipe": learner.recipe.model_dump(mode="json"),
            "model": source,
            "labels": list(learner.labels),
            "head": name_of_pooled_head(learner.model),
            "confusion": self._confusion(),
            "rows": learner.row_hashes.as_dict(),
            "dtype": str(learner.dtype).removeprefix("torch."),
            "versions": versions(),
            "hardware": hardware.describe(learner.device),
            "processes": distributed.world_size(),
            "scores": samples,
            "heldout_loss": {"before": losses[min(losses)], "after": losses[kept or max(losses)]} if losses else {},
            "steps": last.step,
            "tokens": last.tokens,
            "seconds": last.seconds,
            "tokens_per_second": last.tokens_per_second,
            "peak_memory_bytes": hardware.peak_memory(learner.device),
            "events": [events.to_dict(event) for event in self._events],
        }

    def _confusion(self) -> dict[str, Any]:
        """Of a classifier, which label was taken for which after training; else nothing."""
        last = next((sample for sample in reversed(self._all(Sampled)) if sample.step > 0), None)
        return confusion(last.answers, self._learner.labels) if last and self._learner.labels else {}


def _is_kept(event: Event, progress: TrainingState, recipe: Recipe) -> bool:
    """Whether an event of a stopped run belongs to the resumed one: not the evaluation at the step where it stopped."""
    if isinstance(event, Finished):
        return False
    if isinstance(event, Sampled) and event.step and event.step % (recipe.sample_every or event.step + 1):
        return False
    last = progress.evaluated_at if isinstance(event, Evaluated) else progress.step
    return isinstance(event, Started) or event.step <= last


def _why(refused: OSError) -> str:
    """Why a run could not be written under its name."""
    if refused.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
        return "another file or folder has appeared there since training began"
    return system_reason(refused)


def _identity(folder: Path) -> tuple[int, int]:
    """Tells a folder from another one that has its name later."""
    found = folder.stat()
    return found.st_dev, found.st_ino


def _copy_foreign(old: Path, new: Path) -> None:
    """Copy what others have put into a run's folder: its chart or notes, for example."""
    for path in old.iterdir():
        if path.name == checkpoint.FILE or (new / path.name).exists():
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True)
        else:
            shutil.copy2(path, new / path.name, follow_symlinks=False)


def _require_space(out: Path, learner: Learner) -> None:
    """Make sure that the run has room: with `save_every`, for two checkpoints, since one stays until the next is whole.

    Raises:
        StorageError: If the disk has less.
    """
    needed = save.model_bytes(learner)
    if learner.recipe.save_every:
        needed = 2 * (needed + checkpoint.checkpoint_bytes(learner))
    require_space(out, needed + _RECORD_BYTES, "This run", "Free some disk space, or name another folder with `--out`.")
