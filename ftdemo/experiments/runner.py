"""Carries out an experiment: every arm with every seed, and keeps of each run what pages and claims need."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ftdemo.comparison import advice, approaches, compare
from ftdemo.data import BUILT_IN, load_splits
from ftdemo.data.atomic import atomic_write
from ftdemo.data.variants import write_variant
from ftdemo.errors import RecipeError, UsageError, writing
from ftdemo.evaluation.evaluate import confusion
from ftdemo.evaluation.outcomes import Outcomes
from ftdemo.evaluation.tfidf import evaluate_tfidf, fit_tfidf
from ftdemo.events import Evaluated, Event, Sampled, Started, Step
from ftdemo.experiments import spec as experiment
from ftdemo.experiments.check import TOLERANCE
from ftdemo.experiments.intervals import SWEEP
from ftdemo.experiments.spec import Arm, Experiment, Numerics, Spec
from ftdemo.experiments.sweep import sweep_rates
from ftdemo.methods import METHODS
from ftdemo.models import load as models
from ftdemo.recipe import Recipe
from ftdemo.runs import run_metrics, save
from ftdemo.runs.perform import perform
from ftdemo.runs.run import Run, versions
from ftdemo.training import hardware

_CURVE_POINTS = 100
_FEWER_POINTS = 30
"""Of a run that is not shown."""
_ANSWERS_KEPT = 3
_LONGEST_ANSWER = 900
"""Characters of an answer that a record keeps."""
_MAX_BYTES = 300 * 1024


@dataclass(frozen=True)
class RunProgress:
    """Where an experiment stands."""

    run: str
    place: int
    of: int
    event: Event


def run_experiment(found: Experiment, *, quick: bool, folder: Path) -> Generator[RunProgress | dict[str, Any]]:
    """Carry out an experiment, in its quick form or whole.

    Args:
        found: The experiment.
        quick: Whether to do the quick form: only the first seed, fewer arms, shorter runs.
        folder: Where the runs are kept while they are needed. Completed runs are not repeated, and an interrupted one
            is resumed.

    Yields:
        The events of each run; the record, last.

    Raises:
        FtdemoError: If a run cannot be carried out.
    """
    spec = found.spec
    chosen = spec.quick.arms if quick and spec.quick else ()
    arms = [name for name in spec.arms if not chosen or name in chosen]
    seeds = spec.seeds[:1] if quick else spec.seeds
    plan = [(name, seed) for seed in seeds for name in arms]
    runs: dict[str, Any] = {}
    sweeps: dict[str, Any] = {}
    memory: dict[Any, Any] = {}
    folder.mkdir(parents=True, exist_ok=True)
    with fixed_threads(spec.numerics.threads):
        for place, (name, seed) in enumerate(plan, 1):
            swept = None if quick else spec.swept_arm(name)
            if swept and swept not in sweeps:
                for trial, step in _sweep(spec, swept, folder, sweeps):
                    yield RunProgress(trial, place, len(plan), step)
            lr = sweeps[swept]["best"] if swept else None
            key, settings = f"{name}/{seed}", _settings(spec, name, seed, quick=quick, lr=lr)
            done, began = folder / f"{name}-{seed}.json", time.perf_counter()
            if done.exists():
                runs[key] = _read_done(done, settings)
                continue
            for event in _run_arm(spec, name, seed, quick=quick, folder=folder, memory=memory, lr=lr):
                if isinstance(event, dict):
                    wall = round(time.perf_counter() - began, 2)
                    sweep = {SWEEP: sweeps[name]} if name in sweeps else {}
                    runs[key] = {"arm": name, "seed": seed, **event, **sweep, "wall_seconds": wall}
                else:
                    yield RunProgress(key, place, len(plan), event)
            write_whole(done, json.dumps({"asked": settings, "run": runs[key]}))
    yield _as_record(found, runs, sweeps, quick=quick)


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Within this, torch computes with so many threads, whatever the machine has."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _sweep(spec: Spec, name: str, folder: Path, sweeps: dict[str, Any]) -> Iterator[tuple[str, Event]]:
    """The events of the trials by which an arm's learning rate is chosen, each by a name; `sweeps` gets the result."""
    rates = {arm: sweep["best"] for arm, sweep in sweeps.items()}
    trials = sweep_rates(spec, name, folder, rates)
    while True:
        try:
            rate, event = next(trials)
        except StopIteration as ended:
            sweeps[name] = ended.value.as_record(spec.sweep.seed)
            return
        yield f"{name}, {'its start' if rate is None else f'learning rate {rate:g}'}", event


def _settings(spec: Spec, name: str, seed: int, *, quick: bool, lr: float | None) -> dict[str, Any]:
    """Everything that decides a run's record, as plain values."""
    recipe = spec.recipe_of(name, seed, quick=quick, lr=lr).model_dump(mode="json")
    arm = spec.arms[name].model_dump(mode="json")
    return {"recipe": recipe, "arm": arm, "measure": list(spec.measure), "threads": spec.numerics.threads}


def _read_done(file: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The record of a run that was carried out earlier.

    Raises:
        UsageError: If it was another one.
    """
    done = json.loads(file.read_text(encoding="utf-8"))
    if done["asked"] != settings:
        raise UsageError(f"{file} belongs to another version of this experiment.", "Name another folder with `--keep`.")
    run: dict[str, Any] = done["run"]
    return run


def write_record(record: dict[str, Any], path: Path) -> None:
    """Write a record.

    Raises:
        UsageError: If it is larger than what a page should carry.
    """
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":")).replace('},"', '},\n"') + "\n"
    if len(text.encode()) > _MAX_BYTES:
        raise UsageError(
            f"{path}: the record has {len(text) // 1024} kB, but the limit is {_MAX_BYTES // 1024} kB.",
            "Use fewer arms, or show an arm with shorter answers.",
        )
    write_whole(path, text)


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all: an earlier record stays where there is no room for the new one."""
    with writing(path, "Make room."), atomic_write(path, replace=True) as new:
        new.write_text(text, encoding="utf-8")


def _as_record(found: Experiment, runs: dict[str, Any], sweeps: dict[str, Any], *, quick: bool) -> dict[str, Any]:
    claims = experiment.decide(found.spec, runs, quick=quick)
    seconds = [*(run["wall_seconds"] for run in runs.values()), *(sweep["seconds"] for sweep in sweeps.values())]
    return {
        **record_head(found.name, found.spec.numerics, sum(seconds)),
        "quick": quick,
        "tolerance": TOLERANCE,
        "claims": experiment.as_record(claims),
        "runs": runs,
    }


def record_head(name: str, numerics: Numerics, seconds: float) -> dict[str, Any]:
    """What every record begins with: what was carried out, when, in how long, and on what."""
    return {
        "version": 1,
        "experiment": name,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "numerics": numerics.model_dump(mode="json"),
        "versions": versions(),
        "hardware": hardware.describe(hardware.pick_device(numerics.device)),
    }


def _run_arm(
    spec: Spec, name: str, seed: int, *, quick: bool, folder: Path, memory: dict[Any, Any], lr: float | None
) -> Iterator[Event | dict[str, Any]]:
    """One run's events, then its record."""
    arm = spec.arms[name]
    out = folder / f"{name}-{seed}"
    if arm.adapter:
        run = Run.load(folder / f"{arm.adapter}-{seed}")
        values, outcomes = run_metrics.evaluate_on_other_base(run, folder / f"{arm.start}-{seed}")
        yield values | _outcomes_record(outcomes)
        return
    recipe = _recipe_of(spec, name, seed, quick=quick, folder=folder, lr=lr)
    if arm.baseline:
        yield _fit_baseline(recipe)
        return
    if arm.compare:
        yield from _run_comparison(arm, recipe, out)
        return
    events: list[Event] = []
    for event in _events_of_run(recipe, out, memory):
        events.append(event)
        yield event
    run = Run.load(out)
    shown = name == spec.shown and seed == spec.seeds[0]
    training = _training_record(events, recipe, points=_CURVE_POINTS if shown else _FEWER_POINTS)
    values, outcomes = run_metrics.measure_run(spec.measure, run, memory)
    kept = training | _evaluation_record(run) | values
    kept |= _outcomes_record(run_metrics.run_outcomes(run, memory) | outcomes)
    run_metrics.forget_model(memory)
    if shown:
        kept["samples"] = _samples(events)
    yield kept


def _run_comparison(arm: Arm, recipe: Recipe, out: Path) -> Iterator[Event | dict[str, Any]]:
    """All approaches on the arm's task; an interrupted comparison starts again.

    Raises:
        RecipeError: If there is no such task.
    """
    shutil.rmtree(out, ignore_errors=True)
    tasks = approaches.tasks()
    if arm.compare not in tasks:
        raise RecipeError(f"There is no task called `{arm.compare}`.", f"The tasks are: {', '.join(tasks)}.")
    task = tasks[arm.compare]
    fixed = {"device": recipe.device, "dtype": recipe.dtype, "attention": recipe.attention}
    settings = fixed | {key: value for key, value in arm.settings.items() if key != "model"}
    for event in compare.run_comparison(
        task, out, model=recipe.model, seed=recipe.seed, rows=arm.questions, settings=settings
    ):
        if isinstance(event, compare.Comparison):
            outcomes = {
                f"ways.{one.approach}.{path}": found for one in event.measured for path, found in one.outcomes.items()
            }
            yield _rounded(event.as_dict()) | {"dtype": recipe.dtype} | _outcomes_record(outcomes)
        elif not isinstance(event, advice.Measured):
            yield event


def _fit_baseline(recipe: Recipe) -> dict[str, Any]:
    """TF-IDF with logistic regression on the arm's rows, recorded as a trained classifier is."""
    splits = load_splits(recipe.data, seed=recipe.seed, examples=recipe.examples)
    rows = tuple(splits.train)
    fitted = fit_tfidf(rows)
    found = evaluate_tfidf(fitted, splits.heldout, data=recipe.data)
    outcomes = {f"scores.after.{name}": one for name, one in found.outcomes.items()}
    # The same questions as those of a network that was trained by this recipe, so that the two are compared in pairs.
    questions = [*splits.heldout, recipe.train_on, recipe.max_length]
    outcomes["heldout_loss.after"] = Outcomes.of_losses(questions, found.losses)
    return {
        "started": {
            "examples": len(rows),
            "heldout_examples": len(splits.heldout),
            "trainable_parameters": fitted.parameters,
            "total_parameters": fitted.parameters,
        },
        "scores": {"after": found.scores},
        "confusion": confusion(found.answers, fitted.labels),
        "heldout_loss": {"after": round(found.heldout_loss, 5)},
        "seconds": round(fitted.seconds, 3),
    } | _outcomes_record(outcomes)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return round(value, 5) if isinstance(value, float) else value


def _events_of_run(recipe: Recipe, out: Path, memory: dict[Any, Any]) -> Iterator[Event]:
    """All events of a run, which is resumed where it was interrupted."""
    if not out.exists():
        yield from _with_baseline(recipe, out, memory)
        return
    run = Run.load(out)
    carried_out = recipe.with_settings({"max_length": min(recipe.max_length, run.recipe.max_length)})
    if run.recipe != carried_out:  # a run lowers `max_length` to what its model can read
        raise UsageError(f"{out} holds a run with another recipe.", "Name another folder with `--keep`.")
    if run.record["status"] != "completed":
        for _ in perform(recipe, out, resume=run):
            pass
    yield from Run.load(out).events


def _with_baseline(recipe: Recipe, out: Path, memory: dict[Any, Any]) -> Iterator[Event]:
    """The events of a new run. What a pre-trained model answers before training is found out once for all its runs.

    An untrained model rarely stops by itself, so its answers take longer than those of a trained one.
    """
    key = _baseline_key(recipe)
    before: list[Event] = []
    with closing(perform(recipe, out, baseline=memory.get(key, ()))) as events:
        for event in events:
            if isinstance(event, Evaluated | Sampled) and event.step == 0:
                before.append(event)
            yield event
    if key is not None:
        memory[key] = before


def _baseline_key(recipe: Recipe) -> Any:
    """What decides the answers and the loss of a model before training; none where they are the run's own.

    A new head is, being random, and so are the held-out examples of a file, which the seed chooses. An adapter begins
    as nothing, so it leaves its base as it is. In fewer bits than 32, a frozen base is another one than a trained one.
    """
    method = METHODS[recipe.method]
    if method.is_classifier or recipe.weights == "random" or recipe.data not in BUILT_IN:
        return None
    decisive = recipe.model_dump(include=_BEFORE_TRAINING)
    in_few_bits = method.frozen_format or (recipe.dtype != "float32" and method.is_low_rank)
    return ("before training", in_few_bits, tuple(sorted(decisive.items())))


_BEFORE_TRAINING = {"model", "data", "dtype", "device", "attention", "max_length", "train_on", "train_stop"}
_BEFORE_TRAINING |= {"packing", "batch_tokens", "answer_tokens", "sample_prompts"}
"""Keys of a recipe that decide how a pre-trained model is evaluated, and nothing of how it is trained."""


def _recipe_of(spec: Spec, name: str, seed: int, *, quick: bool, folder: Path, lr: float | None) -> Recipe:
    """The recipe of a run, with other arms' models and changed rows in place."""
    arm, recipe = spec.arms[name], spec.recipe_of(name, seed, quick=quick, lr=lr)
    if arm.start:
        recipe = recipe.with_settings({"model": str(folder / f"{arm.start}-{seed}")})
    if arm.rows:
        rows = folder / f"{name}-{seed}-rows"
        write_variant(recipe.data, rows, seed=seed, examples=recipe.examples, **arm.rows.model_dump())
        recipe = recipe.with_settings({"data": str(rows), "examples": None})
    return recipe


def _outcomes_record(outcomes: Mapping[str, Outcomes]) -> dict[str, Any]:
    """How each question came out, by the path of the number that the questions add up to."""
    return {"outcomes": {path: one.as_record() for path, one in outcomes.items()}}


_OF_ROWS = ("dropped_rows", "truncated_rows")
"""Fields of `Started` that list single rows, which would make a record large."""


def _training_record(events: list[Event], recipe: Recipe, *, points: int) -> dict[str, Any]:
    """The training in numbers: its loss curve and its costs."""
    started = next(event for event in events if isinstance(event, Started))
    steps = [event for event in events if isinstance(event, Step)]
    heldout = [[event.step, _short(event.loss)] for event in events if isinstance(event, Evaluated)]
    every = max(1, -(-len(steps) // points))
    kept = [step for step in steps if step.step % every == 0 or step is steps[-1]]
    last = steps[-1]
    return {
        "recipe": recipe.model_dump(mode="json", exclude_defaults=True, exclude={"data"}),
        "started": {key: value for key, value in asdict(started).items() if key not in _OF_ROWS},
        "curve": [[step.step, _short(step.loss)] for step in kept],
        "heldout": heldout,
        "steps": last.step,
        "tokens": last.tokens,
        "seconds": round(last.seconds, 3),
        "tokens_per_second": round(last.tokens_per_second, 1),
    }


def _evaluation_record(run: Run) -> dict[str, Any]:
    """The evaluations in a run's own record."""
    record = run.record
    labels = {"confusion": record["confusion"]} if record.get("confusion") else {}
    saved = sum(path.stat().st_size for path in run.folder.glob("*model.safetensors"))
    return labels | {
        "scores": record["scores"],
        "heldout_loss": {when: round(loss, 5) for when, loss in record["heldout_loss"].items()},
        "lowest_heldout_loss": round(min((e.loss for e in run.events if isinstance(e, Evaluated)), default=0.0), 5),
        "last_train_loss": round(_mean_of_last(run), 5),
        "peak_memory_bytes": record["peak_memory_bytes"],
        "saved_bytes": saved,
    }


def _mean_of_last(run: Run) -> float:
    losses = [event.loss for event in run.events if isinstance(event, Step)]
    last = losses[-max(1, len(losses) // 10) :]
    return sum(last) / len(last)


def _samples(events: list[Event]) -> list[dict[str, Any]]:
    """The answers to the first prompts, each time they were given."""
    samples = [event for event in events if isinstance(event, Sampled)]
    return [
        {
            "step": sample.step,
            "scores": sample.scores,
            "answers": [
                asdict(
                    replace(answer, text=answer.text[:_LONGEST_ANSWER], reference=answer.reference[:_LONGEST_ANSWER])
                )
                for answer in sample.answers[:_ANSWERS_KEPT]
            ],
        }
        for sample in samples
    ]


@contextmanager
def run_folder(keep: Path | None) -> Iterator[Path]:
    """A folder for an experiment's runs. It is deleted afterwards unless `keep` names it."""
    if keep is not None:
        with writing(keep, "Name another folder with `--keep`."):
            keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="ftdemo-record-") as folder:
        yield Path(folder)


def ship(found: Experiment, runs: Path) -> Path:
    """Make the first run's model the bundled model that the experiment names, and return its folder."""
    spec = found.spec
    assert spec.ships is not None
    run = Run.load(runs / f"{next(iter(spec.arms))}-{spec.seeds[0]}")
    folder = models.bundled_folder(spec.ships)
    save.save_bundled(run, folder, spec.ships, found.record() or {})
    return folder


def _short(value: float) -> float:
    return round(value, 4)
