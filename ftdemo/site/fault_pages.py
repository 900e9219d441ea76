"""What pages show of runs with planted faults: the evidence of each, the causes to choose from, and the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ftdemo import charts
from ftdemo.experiments.fault_spec import FaultCase, FaultCases, FaultSpec, case_numbers, find_fault_cases
from ftdemo.site.plugins import Plugin
from ftdemo.site.rendering import render_template

_FILES = {"train": "data/train.jsonl", "heldout": "data/heldout.jsonl", "export": "export.jsonl"}
_ASKING = {
    "as trained": "with the chat template",
    "other base": "with the chat template",
    "bare text": "with the message alone",
    "joined text": "as in the training file, up to “Ticket:”",
}
_WHERE = {"held-out": "Held-out example", "in use": "Message in use"}

_Run = dict[str, Any]
"""A run in ``record.json``."""


class FaultPages(Plugin):
    """The collections of runs with planted faults of a site, under ``docs/experiments``."""

    @cached_property
    def collections(self) -> dict[str, FaultCases]:
        """All of them, by name."""
        return find_fault_cases(self.project.docs / "experiments")

    def files(self) -> Iterator[tuple[Path, str | bytes]]:
        """What a page includes of each collection."""
        for name, found in self.collections.items():
            yield self.project.derived / "faults" / f"{name}.md", fault_page(found.name, found.spec, found.record())

    def runs(self) -> Mapping[str, str]:
        """Every collection, with the day on which its runs were carried out."""
        records = {name: found.record() for name, found in self.collections.items()}
        return {name: record["created"][:10] if record else "" for name, record in records.items()}


def fault_page(name: str, spec: FaultSpec, record: Mapping[str, Any] | None) -> str:
    """All runs of a collection, as a page includes them.

    Args:
        name: The collection's.
        spec: The runs and the words about them.
        record: What the runs gave; none if they were not carried out yet.
    """
    runs = record["runs"] if record else {}
    recorded = [case for case in spec.cases if case.id in runs]
    return render_template(
        "faults.md",
        name=name,
        record=record,
        missing=len(spec.cases) - len(recorded),
        healthy=_evidence(runs["healthy"], "without a fault") if runs else None,
        cases=[_case(case, spec, runs, number) for number, case in enumerate(recorded, 1)],
    )


def _case(case: FaultCase, spec: FaultSpec, runs: Mapping[str, _Run], number: int) -> dict[str, Any]:
    """What a template needs of a case. The causes are in the order of the file, so that their order tells nothing."""
    numbers = case_numbers(runs[case.id], runs["healthy"])
    return {
        "number": number,
        "id": case.id,
        "title": case.title,
        "story": case.story,
        "evidence": _evidence(runs[case.id], f"run {number}"),
        "causes": {key: says for key, says in spec.causes.items() if key == case.cause or key in case.others},
        "cause": case.cause,
        "says": spec.causes[case.cause],
        "others": {spec.causes[key]: why for key, why in case.others.items()},
        "other_keys": {spec.causes[key]: key for key in case.others},
        "why": _in_words(case.why, numbers),
        "clue": _in_words(case.clue, numbers),
        "command": case.command,
        "told": runs[case.id]["told"],
        "remedy": _in_words(case.remedy, numbers),
    }


def _in_words(text: str, numbers: Mapping[str, float]) -> Markup:
    """A text with the record's numbers in it, and code between backticks marked as such."""
    parts = text.format_map(numbers).split("`")
    pieces = (Markup("<code>{}</code>").format(part) if place % 2 else part for place, part in enumerate(parts))
    return Markup("").join(pieces)


def _evidence(run: _Run, name: str) -> dict[str, Any]:
    """What a reader sees of a run before they choose a cause."""
    numbers = run["numbers"]
    chart = charts.curve_chart(run["curve"], run["heldout"], int(numbers["steps"]), f"Loss in nats per token, {name}")
    return {
        "chart": chart,
        "curve": [(step, _loss_before(run, step), f"{loss:.3f}") for step, loss in run["heldout"]],
        "settings": _settings(run),
        "scores": list(_scores(numbers)),
        "samples": [{**sample, "where": _WHERE[sample["where"]]} for sample in _shown_samples(run["samples"])],
        "files": {_FILES[file]: lines for file, lines in run["excerpt"].items() if lines},
    }


def _loss_before(run: _Run, step: int) -> str:
    """The training loss at or before a step."""
    before = [loss for at, loss in run["curve"] if at <= step]
    return f"{before[-1]:.3f}" if before else "–"


def _shown_samples(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Three answers; where the model was asked twice, two of each kind."""
    kinds = {sample["where"] for sample in samples}
    most = 3 if len(kinds) == 1 else 2
    return [sample for kind in _WHERE for sample in [one for one in samples if one["where"] == kind][:most]]


def _scores(numbers: Mapping[str, float]) -> Iterator[str]:
    """How many answers were correct, and how many ended by themselves."""
    for prefix, name in (("score", "Held-out examples"), ("use", "Messages in use")):
        if f"{prefix}_stopped" in numbers:
            correct, stopped = numbers[f"{prefix}_exact_match"], numbers[f"{prefix}_stopped"]
            yield f"{name}: {correct:.0%} of the answers are the expected ones, and {stopped:.0%} end by themselves."


def _settings(run: _Run) -> dict[str, str]:
    """The settings and counts of a run. They are the same for all runs, so that none stands out by having more."""
    recipe, numbers = run["recipe"], run["numbers"]
    low_rank = recipe["method"] == "lora"
    in_bfloat16 = numbers.get("fixed_heldout_after") is not None
    columns = run["columns"]
    texts = numbers["tokens_per_example"] > 2 * recipe["answer_tokens"] and "score_stopped" not in numbers
    return {
        "Method": f"LoRA, rank {recipe['rank']}" if low_rank else "full fine-tuning",
        "Learning rate": f"{numbers['lr']:g}, {recipe['schedule']} (usual: {numbers['usual_lr']:g})",
        "Passes": f"{numbers['passes']:g}, which are {numbers['steps']:g} steps",
        "Examples": f"{numbers['examples']:g} to train on, {numbers['heldout_examples']:g} held out",
        "Columns": "running text" if texts else f"{columns['prompt']} → {columns['completion']}",
        "Tokens per example": f"{numbers['tokens_per_example']:.0f}, longest {numbers['longest_example']:g}",
        "Maximum length": f"{recipe['max_length']} tokens",
        "Trained tokens per example": f"{numbers['trained_per_example']:.0f}",
        "Weights stored in": "bfloat16" if in_bfloat16 else "float32",
        "Trained weights that changed": f"{numbers['changed']:.0%}",
        "Model in training": recipe["model"],
        "Model in use": run["used_model"] + (" with the adapter" if low_rank else ", trained"),
        "Asked in use": _ASKING[run["asks"]],
    }
