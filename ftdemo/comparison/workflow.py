"""From a data file to a release, as one plan: check, split, train, evaluate, A/B test, release.

Each step leaves files in one folder and an entry in ``workflow.json``. It is repeated if its inputs have changed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ftdemo.comparison import ab_test
from ftdemo.data import Row, examine, stream_rows
from ftdemo.data.atomic import atomic_write, require_place
from ftdemo.data.check import CHANGES, check_file
from ftdemo.data.files import with_home
from ftdemo.data.split import choose_heldout
from ftdemo.errors import DataError, RecipeError, UsageError, first_problem, writing
from ftdemo.evaluation.evaluate import evaluate_before_and_after, main_score, score, with_interval
from ftdemo.evaluation.evaluate import evaluations_as_dict as evaluations
from ftdemo.evaluation.generate import answer_rows
from ftdemo.events import Answer, Event
from ftdemo.models import load as models
from ftdemo.models.tokenizer import embedding_rows
from ftdemo.recipe import Recipe, named
from ftdemo.runs.perform import Switch, perform
from ftdemo.runs.publish import release
from ftdemo.runs.run import Run
from ftdemo.training import checkpoint
from ftdemo.training.prepare import within_window

WorkflowStep = Literal["check", "split", "train", "evaluate", "ab", "release"]
STEPS: tuple[WorkflowStep, ...] = ("check", "split", "train", "evaluate", "ab", "release")
STATE = "workflow.json"


class WorkflowPlan(BaseModel):
    """What a workflow's file holds. Paths are relative to the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Path = Field(description="the rows, in any of the forms that are read")
    out: Path = Field(Path("workflow"), description="the folder for all results")
    columns: dict[str, str] = Field(default_factory=dict, description="ftdemo's names for the file's columns")
    heldout: float = Field(0.1, gt=0, le=0.5, description="share of the rows that is held out")
    benchmark: Path | None = Field(None, description="rows to evaluate on, with `constraints`; else the held-out ones")
    train: dict[str, Any] = Field(default_factory=dict, description="keys of the training recipe")
    judge: Literal["checkers", "person"] = Field("checkers", description="who decides which answer is better")
    difference: float = Field(0.1, gt=0, le=0.5, description="the smallest lead in the win rate that matters")
    purpose: str = Field("", description="what the model is for, and what it is not for; goes into its card")
    seed: int = Field(0, ge=0, lt=2**32)

    @classmethod
    def from_yaml(cls, path: Path) -> WorkflowPlan:
        """Read a plan.

        Raises:
            RecipeError: If the file cannot be read, or a key is unknown or has a wrong value.
        """
        try:
            plan = cls(**yaml.safe_load(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise RecipeError(f"{path}: {first_problem(error)}.", f"Keys: {', '.join(cls.model_fields)}.") from None
        except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
            reason = getattr(error, "strerror", None) or "not a YAML mapping"
            raise RecipeError(f"{path}: {reason}.", "A plan has `data: FILE` at least, one key a line.") from None
        if "data" in plan.train:
            what = f"{path}: `data` has no effect within `train`."
            raise RecipeError(what, "Name the data in the plan's own `data`.")
        places = {key: path.parent / with_home(str(value)) for key, value in plan if isinstance(value, Path)}
        return plan.model_copy(update=places)

    @property
    def recipe(self) -> Recipe:
        """The training recipe."""
        settings = {"examples": None, "seed": self.seed, **self.train, "data": str(self.out / "data")}
        return named(settings.pop("method", "lora"), settings.get("model")).with_settings(settings)


@dataclass(frozen=True)
class Done:
    """A step that is done, now or in an earlier run."""

    step: WorkflowStep
    result: dict[str, Any]
    """The result in a few figures."""
    again: bool
    """Whether it was carried out now."""


def run_workflow(
    plan: WorkflowPlan, *, only: WorkflowStep | None = None, again: bool = False, stop: Switch | None = None
) -> Iterator[Event | Done]:
    """Carry out a plan's steps, or one of them.

    Args:
        plan: What to do.
        only: This step alone; those before it have to be done.
        again: Whether to repeat a step although nothing has changed.
        stop: Set it to end after the current piece of work.

    Yields:
        Each step once it is done, and the events of the training.

    Raises:
        FtdemoError: If a step cannot be carried out.
    """
    _claim_folder(plan)
    state = _state(plan)
    key = _fingerprint(str(plan.seed))
    for step in STEPS:
        key = _fingerprint(key, *_decides(plan, step))
        before = state.get(step, {})
        current = before.get("key") == key
        if current and not (again and only in (None, step)):
            if only in (None, step):
                yield Done(step, before["result"], again=False)
            continue
        if only is not None and step != only:
            if STEPS.index(step) < STEPS.index(only):
                raise UsageError(f"The step {step} comes before {only} and is not done.", "Leave out `--step`.")
            return
        if stop and stop.is_set():
            return
        result: dict[str, Any] | None = None
        with writing(plan.out, "Make room, or set `out` to another folder."):
            for event in _STEPS[step](plan, stop):
                if isinstance(event, dict):
                    result = event
                else:
                    yield event
        if result is None:  # stopped
            return
        if result.get("waiting"):
            yield Done(step, result, again=True)
            return
        state[step] = {"key": key, "result": result}
        _write_state(plan, state)
        yield Done(step, result, again=True)
        if step == only:
            return


def _claim_folder(plan: WorkflowPlan) -> None:
    """Make the workflow's folder. Its steps replace files in it, so it may not hold anybody else's.

    Raises:
        UsageError: If it does.
        StorageError: If it cannot be made.
    """
    remedy = "Set `out` to a folder that is new."
    with writing(plan.out, remedy):
        if not plan.out.is_dir():
            require_place(plan.out, remedy)
        elif (plan.out / STATE).exists():
            return
        elif any(plan.out.iterdir()):
            raise UsageError(f"{plan.out} holds other files than a workflow's.", remedy)
    _write_state(plan, {})


def _write_state(plan: WorkflowPlan, state: dict[str, Any]) -> None:
    with writing(plan.out, "Make room."), atomic_write(plan.out / STATE, replace=True) as new:
        new.write_text(json.dumps(state, indent=2, default=str) + "\n", encoding="utf-8")


def _state(plan: WorkflowPlan) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((plan.out / STATE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError):
        raise UsageError(f"{plan.out / STATE} cannot be read.", "Remove it, and all steps are repeated.") from None
    return state


def _decides(plan: WorkflowPlan, step: WorkflowStep) -> Iterator[str]:
    """Everything that a step depends on, besides the steps before it."""
    if step == "check":
        yield from (_of_file(plan.data), json.dumps(plan.columns, sort_keys=True))
        yield from (_of_file(plan.benchmark), plan.recipe.model)
    elif step == "split":
        yield str(plan.heldout)
    elif step == "train":
        yield plan.recipe.to_yaml()
    elif step == "ab":
        yield plan.judge
        yield _of_file(plan.out / ab_test.JUDGEMENTS if plan.judge == "person" else None)
    elif step == "release":
        yield from (plan.purpose, str(plan.difference))


def _of_file(path: Path | None) -> str:
    if path is None or not path.exists():
        return ""
    if path.is_dir():
        return _fingerprint(*(_of_file(file) for file in sorted(path.rglob("*")) if file.is_file()))
    if not path.is_file():  # a pipe, which the first step refuses; opening it would wait for ever
        return ""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # the step that reads it reports why it cannot
        return ""


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _check(plan: WorkflowPlan, _stop: Switch | None) -> Iterator[dict[str, Any]]:
    cleaned = plan.out / "cleaned.jsonl"
    for old in (cleaned, cleaned.with_name(cleaned.name + CHANGES)):
        old.unlink(missing_ok=True)
    recipe = plan.recipe
    source = models.resolve(recipe.model)
    report = check_file(
        plan.data,
        models.load_tokenizer(source),
        model=recipe.model,
        known_tokens=embedding_rows(source.path),
        max_length=recipe.max_length,
        against=plan.benchmark,
        columns={theirs: ours for ours, theirs in plan.columns.items()},
        fix=cleaned,
    )
    (plan.out / "check.json").write_text(json.dumps(report.as_dict(), indent=2, ensure_ascii=False), encoding="utf-8")
    if report.rows == report.left_out:
        raise DataError(f"{plan.data}: no row can be trained on.", f"See {plan.out / 'check.json'}.")
    yield {"rows": report.rows, "left_out": report.left_out, "findings": {f.name: f.count for f in report.findings}}


def _split(plan: WorkflowPlan, _stop: Switch | None) -> Iterator[dict[str, Any]]:
    cleaned = plan.out / "cleaned.jsonl"
    rows = [seen.row for seen in examine(cleaned)]
    if not all(isinstance(row, Row) for row in rows):
        raise DataError(f"{plan.data}: conversations are expected.", 'Give rows like {"prompt": …, "completion": …}.')
    texts = ((row.text, "") for row in rows if isinstance(row, Row))
    held = max(1, round(plan.heldout * len(rows)))
    chosen = choose_heldout(texts, held=held, seed=plan.seed)
    if not chosen or len(chosen) == len(rows):
        raise DataError(f"{plan.data}: {len(rows)} examples cannot be split.", "Give a few hundred different examples.")
    folder = plan.out / "data"
    folder.mkdir(exist_ok=True)
    with cleaned.open(encoding="utf-8", newline="\n") as file:
        lines = list(file)  # and not `splitlines`, which would also split a row at a line separator in its text
    for name, heldout in (("train", False), ("heldout", True)):
        part = "".join(line for place, line in enumerate(lines) if (place in chosen) == heldout).encode()
        target = folder / f"{name}.jsonl"
        if not target.exists() or target.read_bytes() != part:
            shutil.rmtree(plan.out / "run", ignore_errors=True)  # it was on other examples
            target.write_bytes(part)
    yield {"train": len(rows) - len(chosen), "heldout": len(chosen)}


def _train(plan: WorkflowPlan, stop: Switch | None) -> Iterator[Event | dict[str, Any]]:
    folder = plan.out / "run"
    resume = _stopped_run(folder, plan.recipe)
    if resume is None:
        shutil.rmtree(folder, ignore_errors=True)
    yield from perform(plan.recipe, folder, stop=stop, resume=resume)
    if folder.exists() and (run := Run.load(folder)).record["status"] == "completed":
        losses = run.record["heldout_loss"]
        yield {"steps": run.record["steps"], "seconds": round(run.record["seconds"], 1), "heldout_loss": losses}


def _stopped_run(folder: Path, recipe: Recipe) -> Run | None:
    """The run in a folder, if it was stopped in the middle of this recipe."""
    if not (folder / checkpoint.FILE).exists():
        return None
    run = Run.load(folder)
    carried_out, _notes = within_window(recipe, models.resolve(recipe.model))
    chosen: dict[str, Any] = {"lr": recipe.lr or run.recipe.lr}
    if recipe.dtype == "auto":
        chosen["dtype"] = run.recipe.dtype
    return run if run.recipe == carried_out.model_copy(update=chosen) else None


def _benchmark_rows(plan: WorkflowPlan) -> tuple[Row, ...]:
    path = plan.benchmark or plan.out / "data" / "heldout.jsonl"
    rows = tuple(row for row in stream_rows(path) if isinstance(row, Row))
    if not rows:
        raise DataError(f"{path}: conversations are expected.", 'Give rows like {"prompt": …, "completion": …}.')
    return rows


def _evaluate(plan: WorkflowPlan, _stop: Switch | None) -> Iterator[dict[str, Any]]:
    found = evaluations(
        evaluate_before_and_after(
            Run.load(plan.out / "run"), _benchmark_rows(plan), data=str(plan.benchmark or plan.data)
        )
    )
    (plan.out / "evaluation.json").write_text(json.dumps(found, indent=2), encoding="utf-8")
    yield {when: {name: round(figure["value"], 4) for name, figure in found[when]["heldout"].items()} for when in found}


def _ab(plan: WorkflowPlan, _stop: Switch | None) -> Iterator[dict[str, Any]]:
    rows = _benchmark_rows(plan)
    pairs = plan.out / ab_test.PAIRS
    if not pairs.exists() or not _is_of(pairs, plan):
        run = Run.load(plan.out / "run")
        tuned = answer_rows(*run.load_model(), rows, max_new_tokens=run.recipe.answer_tokens)
        base = run.load_base()
        assert base is not None  # a plan tunes what has learned something
        untuned = answer_rows(*base, rows, max_new_tokens=run.recipe.answer_tokens)
        ab_test.write_pairs(plan.out, untuned, tuned, seed=plan.seed, of=_of_file(plan.out / "run" / "run.json"))
    if plan.judge == "person":
        judgements = ab_test.read_judgements(plan.out)
        if len(judgements) < len(rows):
            yield {"waiting": f"{len(judgements)} of {len(rows)} pairs are judged"}
            return
        wins = [judgements[number] for number in sorted(judgements)]
    else:
        wins = _by_checkers(rows, ab_test.read_answers(plan.out), str(plan.benchmark or plan.data))
    result = ab_test.result(wins, plan.difference)
    (plan.out / "ab.json").write_text(json.dumps(asdict(result), indent=2), encoding="utf-8")
    yield asdict(result)


def _is_of(pairs: Path, plan: WorkflowPlan) -> bool:
    return ab_test.of_run(pairs.parent) == _of_file(plan.out / "run" / "run.json")


def _by_checkers(rows: Sequence[Row], answers: Sequence[tuple[Answer, Answer]], data: str) -> list[float]:
    """Of each pair: 1 where the tuned answer scores higher, 0 where it scores lower, a half where they are even."""
    wins = []
    for row, (base, tuned) in zip(rows, answers, strict=True):
        scores = [score(answer, row, data) for answer in (base, tuned)]
        name = main_score(scores[0])
        lead = scores[1][name] - scores[0][name]
        wins.append(0.5 + 0.5 * ((lead > 0) - (lead < 0)))
    return wins


def _release(plan: WorkflowPlan, _stop: Switch | None) -> Iterator[dict[str, Any]]:
    folder = plan.out / "release"
    shutil.rmtree(folder, ignore_errors=True)
    run = Run.load(plan.out / "run")
    model = release(run, folder / "model", "adapter" if run.recipe.is_low_rank else "merged", test_old_skill=True)
    files = {name: json.loads((plan.out / f"{name}.json").read_text(encoding="utf-8")) for name in ("check", "ab")}
    evaluation = json.loads((plan.out / "evaluation.json").read_text(encoding="utf-8"))
    state = _state(plan)
    card = folder / "model" / "README.md"
    if plan.purpose:
        card.write_text(card.read_text(encoding="utf-8") + f"\n## What it is for\n\n{plan.purpose}\n", encoding="utf-8")
    decided = ab_test.decision(ab_test.Result(**files["ab"]))
    (folder / "data-card.md").write_text(_data_card(plan, files["check"], state["split"]["result"]), encoding="utf-8")
    (folder / "evaluation.md").write_text(_report(evaluation, files["ab"]), encoding="utf-8")
    (folder / "decision.md").write_text(f"# Decision\n\n{decided}\n", encoding="utf-8")
    yield {"decision": decided, "folder": str(folder), "largest_difference": model.largest_difference}


def _data_card(plan: WorkflowPlan, report: dict[str, Any], split: dict[str, int]) -> str:
    lines = [f"# Data: {plan.data.name}", "", f"SHA-256 `{_of_file(plan.data)}`.", ""]
    lines += [f"- {report['rows']:,} rows, {report['left_out']:,} of them left out: see `cleaned.jsonl{CHANGES}`."]
    parted = f"{split['train']:,} to train on, {split['heldout']:,} held out, seed {plan.seed}"
    lines += [f"- {parted}; no near-twin on both sides."]
    lines += [f"- {report['tokens']:,} tokens of {report['model']}."]
    lines += [f"- {each['count']:,}: {each['says']}." for each in report["findings"]]
    return "\n".join(lines) + "\n"


def _report(evaluation: dict[str, Any], ab: dict[str, Any]) -> str:
    lines = ["# Evaluation", "", "| figure | rows | before | after |", "| --- | ---: | ---: | ---: |"]
    for part, title in (("heldout", "benchmark"), ("old_skill", "old skill")):
        for name, after in evaluation["after"][part].items():
            before = (evaluation["before"] or {}).get(part, {}).get(name)
            figures = [with_interval(figure, ".3f") if figure else "-" for figure in (before, after)]
            lines.append(f"| {title}: {name} | {after['rows']} | {' | '.join(figures)} |")
    win_rate = with_interval({"value": ab["win_rate"], "low": ab["low"], "high": ab["high"]}, ".0%")
    lines += ["", f"Win rate of the tuned model, with its 95% interval: {win_rate}."]
    lines += [f"{ab['wins']} wins, {ab['ties']} even, {ab['losses']} losses, in {ab['pairs']} pairs in blinded order."]
    return "\n".join(lines) + "\n"


_STEPS: dict[WorkflowStep, Callable[[WorkflowPlan, Switch | None], Iterator[Any]]] = {
    "check": _check,
    "split": _split,
    "train": _train,
    "evaluate": _evaluate,
    "ab": _ab,
    "release": _release,
}
