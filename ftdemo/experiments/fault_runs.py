"""Carries out runs with planted faults, and keeps of each what a reader needs to find its fault."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from ftdemo.data import AnyPrompt, Row, load_splits
from ftdemo.data.files import as_json_lines
from ftdemo.data.rows import parse_row
from ftdemo.data.trial import Trial
from ftdemo.errors import TrainingError, UsageError
from ftdemo.evaluation.evaluate import mean_scores
from ftdemo.evaluation.generate import answer_rows
from ftdemo.events import Answer, Evaluated, Event, Started, Step
from ftdemo.experiments.check import TOLERANCE, Repetition
from ftdemo.experiments.fault_spec import Asking, FaultCase, FaultCases, FaultSpec, FaultyRun, case_numbers
from ftdemo.experiments.planted import SpoiledRows, joined_text, plant_in_code, spoil, write_rows
from ftdemo.experiments.runner import RunProgress, fixed_threads, record_head, write_whole
from ftdemo.models import load as models
from ftdemo.recipe import Recipe
from ftdemo.runs import save
from ftdemo.runs.perform import perform
from ftdemo.training.learner import Learner
from ftdemo.training.loop import evaluate_heldout, train
from ftdemo.training.prepare import prepare

_POINTS = 60
_SAMPLES = 3
_LINES, _HELDOUT_LINES = 5, 2
_LONGEST = 400
"""Characters of an answer or a line that a record keeps."""
_TOLD = 3
_COMMAND_SECONDS = 1800
_FOLDERS = re.compile(r"(?<!\S)/\S*/")
"""Where something is on this machine, which is no part of a record."""
_DATA, _RECIPE, _RUN = "data", "recipe.yaml", "run"
"""Names in a case's folder, as commands give them."""


def run_fault_cases(found: FaultCases, folder: Path) -> Generator[RunProgress | dict[str, Any]]:
    """Carry out all runs of a collection.

    Args:
        found: The collection.
        folder: Where each run's examples and results are kept while they are needed. A run that was carried out there
            by the same settings is not repeated.

    Yields:
        The events of each run; the record, last.

    Raises:
        FtdemoError: If a run cannot be carried out, or a command does not tell what it should.
    """
    spec, runs = found.spec, found.spec.runs()
    results: dict[str, Any] = {}
    with fixed_threads(spec.numerics.threads):
        for place, (name, run) in enumerate(runs.items(), 1):
            done, asked = folder / f"{name}.json", _asked(spec, run)
            kept = json.loads(done.read_text(encoding="utf-8")) if done.exists() else {}
            if kept.get("asked") == asked:
                results[name] = kept["run"]
                continue
            began = time.perf_counter()
            for event in carry_out(spec, run, folder / name):
                if isinstance(event, dict):
                    results[name] = event | {"seconds": round(time.perf_counter() - began, 1)}
                else:
                    yield RunProgress(name, place, len(runs), event)
            write_whole(done, json.dumps({"asked": asked, "run": results[name]}))
    yield _as_record(found, results)


def _asked(spec: FaultSpec, run: FaultyRun) -> dict[str, Any]:
    """Everything that decides what a run gives: the words about it do not."""
    recipe = spec.recipe_of(run, spec.source_of(run)).model_dump(mode="json")
    told = {"command": run.command, "tells": run.tells} if isinstance(run, FaultCase) else {}
    planted = run.model_dump(mode="json", include=set(FaultyRun.model_fields))
    return {"recipe": recipe, "planted": planted, "threads": spec.numerics.threads, **told}


def carry_out(spec: FaultSpec, run: FaultyRun, folder: Path) -> Iterator[Event | dict[str, Any]]:
    """The events of one run, then its record without the symptoms."""
    source = spec.recipe_of(run, spec.source_of(run))
    rows = spoil(load_splits(source.data, seed=source.seed, examples=source.examples), run.rows)
    write_rows(rows, folder / _DATA)
    if rows.shown:
        (folder / "export.jsonl").write_text(as_json_lines(rows.shown), encoding="utf-8")
    recipe = spec.recipe_of(run, str(folder / _DATA))
    (folder / _RECIPE).write_text(recipe.with_settings({"data": _DATA}).to_yaml(), encoding="utf-8")
    learner = prepare(recipe)
    if run.code:
        learner = plant_in_code(learner, run.code)
    start = {name: weight.detach().clone() for name, weight in learner.trainable.items()}
    events: list[Event] = []
    for event in _train(learner):
        events.append(event)
        yield event
    kept = _training_numbers(learner, events, start)
    kept |= {"recipe": _recipe_record(recipe), "columns": rows.columns, "excerpt": _excerpt(rows)}
    answers, scores = _answers(learner, run, rows, folder)
    kept |= answers | {"numbers": {**kept["numbers"], **scores}}
    if run.code == "weights in bfloat16":
        kept["numbers"]["fixed_heldout_after"] = _heldout_after(prepare(recipe))
    if isinstance(run, FaultCase):
        kept["told"] = _told(run, recipe, folder)
    yield kept


def _train(learner: Learner) -> Iterator[Event]:
    """The events of a training run, with the held-out loss before it; one that diverges ends early."""
    if learner.heldout:
        yield evaluate_heldout(learner, step=0)
    try:
        yield from train(learner.recipe, learner)
    except TrainingError:
        return


def _heldout_after(learner: Learner) -> float:
    """The held-out loss of the same run, trained by a program without a fault."""
    return round([event.loss for event in _train(learner) if isinstance(event, Evaluated)][-1], 4)


def _training_numbers(learner: Learner, events: Sequence[Event], start: Mapping[str, Any]) -> dict[str, Any]:
    """The curves of a run and its counts."""
    started = next(event for event in events if isinstance(event, Started))
    steps = [[event.step, round(event.loss, 4)] for event in events if isinstance(event, Step)]
    heldout = [[event.step, round(event.loss, 4)] for event in events if isinstance(event, Evaluated)]
    every = max(1, -(-len(steps) // _POINTS))
    last = [loss for _, loss in steps[-max(1, len(steps) // 10) :]]
    weights = sum(weight.numel() for weight in start.values())
    changed = sum(int((learner.trainable[name] != weight).sum()) for name, weight in start.items())
    losses = [loss for _, loss in heldout]
    numbers = {
        "examples": started.examples,
        "heldout_examples": started.heldout_examples,
        "steps": started.total_steps,
        "passes": learner.recipe.epochs,
        "cut": len(started.truncated_rows),
        "dropped": len(started.dropped_rows),
        "tokens_per_example": sum(learner.train.lengths) / started.examples,
        "longest_example": max(learner.train.lengths),
        "trained_per_example": started.trained_tokens / started.examples,
        "lr": started.lr,
        "usual_lr": Recipe(method=learner.recipe.method, model=learner.recipe.model).lr or 0.0,
        "changed": changed / weights,
        "loss_first": steps[0][1],
        "loss_last": sum(last) / len(last),
        "loss_highest": max(loss for _, loss in steps),
        "heldout_before": losses[0],
        "heldout_after": losses[-1],
        "heldout_lowest": min(losses),
    }
    curve = [step for step in steps if step[0] % every == 0 or step is steps[-1]]
    return {"numbers": {name: _short(value) for name, value in numbers.items()}, "curve": curve, "heldout": heldout}


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _recipe_record(recipe: Recipe) -> dict[str, Any]:
    """The settings of a run, without where its examples were."""
    return recipe.model_dump(mode="json", exclude={"data"})


def _excerpt(rows: SpoiledRows) -> dict[str, list[str]]:
    """The first lines of the files, as a person sees them."""
    files = {"train": rows.train[:_LINES], "heldout": rows.heldout[:_HELDOUT_LINES]}
    if rows.shown:
        files = {"export": rows.shown[:_LINES]}
    return {name: [json.dumps(line, ensure_ascii=False)[:_LONGEST] for line in lines] for name, lines in files.items()}


def _answers(
    learner: Learner, run: FaultyRun, rows: SpoiledRows, folder: Path
) -> tuple[dict[str, Any], dict[str, float]]:
    """What the finished model answers, and its scores.

    It answers the held-out examples, and where that is something else, what those who use it ask.
    """
    place = folder / _DATA
    groups: dict[str, tuple[str, Sequence[Any], Callable[..., tuple[Answer, ...]]]] = {}
    heldout, fresh = (
        [parse_row(place, number, line) for number, line in enumerate(part, 1)] for part in (rows.heldout, rows.fresh)
    )
    if isinstance(heldout[0], Row):
        groups["held-out"] = ("score", heldout, partial(answer_rows, learner.model, learner.tokenizer))
    if run.asks != "as trained" or heldout != fresh:
        groups["in use"] = ("use", fresh, partial(_ask, learner, run, folder))
    samples: list[dict[str, Any]] = []
    scores: dict[str, float] = {}
    for where, (prefix, asked, ask) in groups.items():
        answers = ask(asked, max_new_tokens=learner.recipe.answer_tokens)
        scores |= {f"{prefix}_{name}": value for name, value in mean_scores(answers, asked, "").items()}
        samples += [
            {"where": where, **asdict(replace(answer, text=answer.text[:_LONGEST]))} for answer in answers[:_SAMPLES]
        ]
    return {"asks": run.asks, "samples": samples, "used_model": run.base or learner.recipe.model}, scores


def _ask(
    learner: Learner, run: FaultyRun, folder: Path, rows: Sequence[Any], *, max_new_tokens: int
) -> tuple[Answer, ...]:
    """The answers that those who use a model get."""
    model, tokenizer = learner.model, learner.tokenizer
    if run.asks == "other base":
        model, tokenizer = _on_other_base(learner, str(run.base), folder / "adapter")
    asked = [_in_form(row, run.asks, max_new_tokens) for row in rows]
    answers = answer_rows(model, tokenizer, asked, max_new_tokens=max_new_tokens)
    return tuple(replace(answer, prompt=row.prompt[-1].content) for answer, row in zip(answers, rows, strict=True))


def _in_form(row: Row, asks: Asking, max_new_tokens: int) -> AnyPrompt:
    """A message as the person's program sends it to the model."""
    if asks not in ("bare text", "joined text"):
        return row
    message = row.prompt[-1].content
    opening = message if asks == "bare text" else joined_text(message)
    return Trial(row.number, opening, row.reference, lambda _: {}, max_new_tokens)


def _on_other_base(learner: Learner, base: str, folder: Path) -> tuple[Any, Any]:
    """The trained adapter on another model, as PEFT loads it, which compares nothing but shapes."""
    import torch
    from peft import PeftModel

    folder.mkdir(exist_ok=True)
    save.save_model(learner, folder)
    source = models.resolve(base)
    model = PeftModel.from_pretrained(models.load_causal_lm(source, torch.float32), folder)
    return model.eval(), models.load_tokenizer(source)


def _told(case: FaultCase, recipe: Recipe, folder: Path) -> list[str]:
    """The lines by which a case's command tells of its fault.

    Raises:
        UsageError: If it does not.
    """
    if case.command is None:
        return []
    words = shlex.split(case.command)
    if _RUN in words and not (folder / _RUN).exists():
        short = recipe.with_settings({"max_steps": 1, "sample_prompts": 1, "answer_tokens": 1})
        for _ in perform(short, folder / _RUN):
            pass
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        input="Hello\n",
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS,
    )
    lines = [line for line in (done.stdout + done.stderr).splitlines() if re.search(case.tells, line)]
    if not lines:
        what = f"{case.id}: no line of `{case.command}` has {case.tells!r}."
        raise UsageError(what, f"Its output begins with: {(done.stdout + done.stderr)[:300]!r}")
    return [_FOLDERS.sub("…/", line)[:_LONGEST] for line in lines[:_TOLD]]


def _as_record(found: FaultCases, runs: dict[str, Any]) -> dict[str, Any]:
    for case in found.spec.cases:
        numbers = case_numbers(runs[case.id], runs["healthy"])
        runs[case.id]["symptoms"] = [
            {"says": one.in_words(), "value": _short(one.measure(numbers)), "shown": one.is_shown(numbers)}
            for one in case.symptoms
        ]
    seconds = sum(run["seconds"] for run in runs.values())
    return {**record_head(found.name, found.spec.numerics, seconds), "runs": runs}


def hidden_symptoms(record: Mapping[str, Any]) -> list[str]:
    """The symptoms that do not show, a sentence each: the fault of such a case cannot be found."""
    return [
        f"{name}: {symptom['says']} does not hold, it is {symptom['value']:g}."
        for name, run in record["runs"].items()
        for symptom in run.get("symptoms", ())
        if not symptom["shown"]
    ]


def compare_fault_records(spec: FaultSpec, recorded: Mapping[str, Any], again: Mapping[str, Any]) -> Repetition:
    """Compare a record with its repetition: every symptom has to show, and held-out losses agree to the tolerance."""
    problems, largest = hidden_symptoms(again), 0.0
    steady = ["healthy", *(case.id for case in spec.cases if case.repeats)]
    for name in steady:
        before, now = (record["runs"][name]["numbers"]["heldout_after"] for record in (recorded, again))
        share = abs(now - before) / max(before, 1e-9)
        largest = max(largest, share)
        if share > TOLERANCE:
            problems.append(f"{name}: the held-out loss was {before:g}, now it is {now:g}.")
    return Repetition(tuple(problems), len(steady), largest)
