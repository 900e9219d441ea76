"""Measured numbers: looked up in recorded runs, written into pages, and turned into the panels that pages include."""

from __future__ import annotations

import json
import re
import statistics
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from ftdemo import charts
from ftdemo.errors import DataError
from ftdemo.events import Sampled
from ftdemo.run import Run

NUMBER = re.compile(r'<data value="(?P<key>[^"]+)">(?P<printed>[^<]*)</data>')
_PRINTED = re.compile(r"^(?P<digits>[\d,?]+)(?:\.(?P<decimals>[\d?]+))?(?P<unit>%| MB| GB|)$")
_UNITS = {"%": 100.0, " MB": 1e-6, " GB": 1e-9, "": 1.0}
_ANSWERS_SHOWN = 3


@dataclass(frozen=True)
class Experiment:
    """A recipe under ``docs/experiments/`` and its recorded runs, one a seed."""

    name: str
    runs: dict[str, Run]

    @classmethod
    def load(cls, folder: Path) -> Experiment:
        """Read ``seed-*.json`` in a folder."""
        records = {
            path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("seed-*.json"))
        }
        return cls(folder.name, {name: Run(folder / f"{name}.json", record) for name, record in records.items()})

    @property
    def shown(self) -> Run:
        """The run whose curve and answers are shown."""
        return next(iter(self.runs.values()))


def load_experiments(folder: Path) -> dict[str, Experiment]:
    """All experiments that have a recorded run, by name."""
    found = [Experiment.load(path) for path in sorted(folder.iterdir()) if path.is_dir()]
    return {experiment.name: experiment for experiment in found if experiment.runs}


def look_up(experiments: dict[str, Experiment], key: str) -> float:
    """A recorded number.

    Args:
        experiments: What `load_experiments` gave.
        key: ``experiment/seed-0:path.to.number`` for one run, ``experiment:path.to.number`` for the mean of all.

    Raises:
        DataError: If there is no such number.
    """
    place, _, path = key.partition(":")
    name, _, seed = place.partition("/")
    try:
        runs = experiments[name].runs
        chosen = [runs[seed]] if seed else list(runs.values())
        return statistics.fmean(_value(run.record, path) for run in chosen)
    except (KeyError, TypeError, ValueError):
        raise DataError(f"No recorded number `{key}`.", "Write it `experiment/seed-0:path.to.number`.") from None


def rewrite(text: str, experiments: dict[str, Experiment]) -> str:
    """The page's text with each measured number as its record has it, in the form in which it is printed there."""
    return NUMBER.sub(lambda match: _rewritten(match, experiments), text)


def panels(experiment: Experiment) -> dict[str, str]:
    """What pages include of an experiment, by file name."""
    before, after = experiment.shown.samples()
    scores = {"before": before.scores if before else {}, "after": after.scores if after else {}}
    return {
        "loss.html": _figure(charts.loss_chart(experiment.shown.events), experiment),
        "scores.html": _figure(charts.score_chart(scores["before"], scores["after"]), experiment),
        "answers.md": _answers(before, after),
        "facts.md": _facts(experiment),
        "seeds.md": _seeds(experiment),
    }


def _value(record: dict[str, Any], path: str) -> float:
    first, *rest = path.split(".")
    kinds = {event["event"]: event for event in reversed(record["events"])}
    value: Any = kinds[first] if first in kinds else record[first]
    for name in rest:
        value = value[name]
    return float(value)


def _rewritten(match: re.Match[str], experiments: dict[str, Experiment]) -> str:
    form = _PRINTED.match(match["printed"])
    if not form:
        raise DataError(
            f"`{match[0]}` is not a number with %, MB, GB or no unit.", "Write it like 0.98, 98% or 9.8 MB."
        )
    value = look_up(experiments, match["key"]) * _UNITS[form["unit"]]
    printed = f"{value:,.{len(form['decimals'] or '')}f}{form['unit']}"
    return f'<data value="{match["key"]}">{printed}</data>'


def _figure(svg: str, experiment: Experiment) -> str:
    run = experiment.shown.record
    when, device = run["created"][:10], escape(run["hardware"]["device_name"])
    caption = f"Recorded on {when}: seed {run['recipe']['seed']}, {run['hardware']['cores']} cores of {device}."
    return f'<figure class="ft-figure">{svg}<figcaption>{caption}</figcaption></figure>\n'


def _answers(before: Sampled | None, after: Sampled | None) -> str:
    if not before or not after:
        return "No answers were recorded.\n"
    parts = []
    for old, new in list(zip(before.answers, after.answers, strict=True))[:_ANSWERS_SHOWN]:
        parts.append(
            f'<div class="ft-exchange"><p class="ft-letter">{escape(old.prompt)}</p>'
            f'<div class="ft-pair"><div><strong>Before</strong><p class="ft-said">{_lines(old.text)}</p></div>'
            f'<div><strong>After</strong><p class="ft-said">{_lines(new.text)}</p></div></div></div>'
        )
    return "\n\n".join(parts) + "\n"


def _lines(text: str) -> str:
    return "<br>".join(escape(line) for line in text.strip().splitlines() if line.strip())


def _facts(experiment: Experiment) -> str:
    run = experiment.shown.record
    recipe, machine, versions = run["recipe"], run["hardware"], run["versions"]
    started = next(event for event in run["events"] if event["event"] == "started")
    share = started["trainable_parameters"] / started["total_parameters"]
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers", "peft", "ftdemo"))
    rows = {
        "Model": f"{run['model']['name']} ({run['model']['origin']})",
        "Data": f"{recipe['data']}, {started['examples']} examples, {run['tokens']:,} tokens read",
        "Adapter": f"rank {recipe['rank']}, alpha {recipe['alpha']:g}, on {recipe['targets']}",
        "Trainable parameters": f"{started['trainable_parameters']:,} ({share:.2%} of all)",
        "Adapter on disk": f"{started['adapter_bytes'] / 1e6:.1f} MB",
        "Training": f"{run['steps']} steps in {run['seconds']:.0f} s, {run['tokens_per_second']:.0f} tokens/s",
        "Peak memory": f"{run['peak_memory_bytes'] / 1e9:.1f} GB, the whole process",
        "Machine": f"{machine['cores']} cores of {machine['device_name']}, weights in {run['dtype']}",
        "Versions": libraries,
        "Recorded": run["created"][:10],
        "Do it again": f"`ftdemo train docs/experiments/{experiment.name}/recipe.yaml --set seed={recipe['seed']}`",
    }
    return "| The run | |\n| --- | --- |\n" + "".join(f"| {name} | {value} |\n" for name, value in rows.items())


def _seeds(experiment: Experiment) -> str:
    """The scores of every seed, their mean, and the spread from lowest to highest."""
    records = [run.record for run in experiment.runs.values()]
    names = list(records[0]["scores"]["after"])
    columns = [f"{name} before | {name} after" for name in names]
    lines = [
        f"| seed | {' | '.join(columns)} | held-out loss | seconds |",
        "| --- |" + " ---: |" * (2 * len(names) + 2),
    ]
    table = [_score_row(record, names) for record in records]
    for record, row in zip(records, table, strict=True):
        lines.append(f"| {record['recipe']['seed']} | {_cells(row)} |")
    columns_of_values = list(zip(*table, strict=True))
    lines.append(f"| **mean** | {_cells([statistics.fmean(column) for column in columns_of_values])} |")
    lines.append(f"| lowest | {_cells([min(column) for column in columns_of_values])} |")
    lines.append(f"| highest | {_cells([max(column) for column in columns_of_values])} |")
    return "\n".join(lines) + "\n"


def _score_row(record: dict[str, Any], names: list[str]) -> list[float]:
    scores = [record["scores"][when][name] for name in names for when in ("before", "after")]
    return [*scores, record["heldout_loss"]["after"], record["seconds"]]


def _cells(values: list[float]) -> str:
    return " | ".join([f"{value:.2f}" for value in values[:-1]] + [f"{values[-1]:.0f}"])
