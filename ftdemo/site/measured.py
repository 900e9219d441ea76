"""Measured numbers: looked up in the records of experiments, written into pages, and turned into what pages include."""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ftdemo import charts
from ftdemo.charts import Point
from ftdemo.comparison.advice import table as table_of
from ftdemo.errors import DataError
from ftdemo.evaluation.evaluate import with_interval
from ftdemo.experiments.spec import Chart, Experiment, find_experiments, look_up, number, over_seeds

NUMBER = re.compile(r'<data value="(?P<key>[^"]+)">(?P<printed>[^<]*)</data>')
_PRINTED = re.compile(r"^(?P<digits>-?[\d,?]+)(?:\.(?P<decimals>[\d?]+))?(?P<unit>%| [kMG]B| min|)$")
_UNITS = {"%": 100.0, " kB": 1e-3, " MB": 1e-6, " GB": 1e-9, " min": 1 / 60, "": 1.0}
_VERDICTS = {"holds": "✓ holds", "does not hold": "✗ does not hold", "not shown": "– not shown"}

Records = dict[str, dict[str, Any]]
"""The record of each experiment, by its name."""


def load_records(folder: Path) -> Records:
    """The records of all experiments that were carried out."""
    found = {name: experiment.record() for name, experiment in find_experiments(folder).items()}
    return {name: record for name, record in found.items() if record}


def recorded(records: Records, key: str) -> float:
    """A recorded number.

    Args:
        records: What `load_records` gave.
        key: ``experiment:arm:path`` for the mean over all seeds, ``experiment:arm/seed:path`` for one run,
            ``experiment:claim/id:value`` for what a claim was decided by.

    Raises:
        DataError: If there is no such number.
    """
    name, _, rest = key.partition(":")
    place, _, path = rest.partition(":")
    try:
        record = records[name]
        if place.startswith("claim/"):
            claim = next(claim for claim in record["claims"] if claim["id"] == place.removeprefix("claim/"))
            return float(claim[path])
        return statistics.fmean(map(number, look_up(record["runs"], rest)))
    except (KeyError, StopIteration, TypeError, ValueError, DataError):
        raise DataError(f"No recorded number `{key}`.", "Write it `experiment:arm:path.to.number`.") from None


def rewrite(text: str, records: Records) -> str:
    """The page's text with each measured number as its record has it, in the form in which it is printed there."""
    return NUMBER.sub(lambda match: _rewritten(match, records), text)


def panels(experiment: Experiment, record: dict[str, Any]) -> dict[str, str]:
    """What pages include of an experiment, by file name."""
    spec, runs = experiment.spec, record["runs"]
    found = {"claims.md": _claims(record), "arms.md": _arms(record)}
    for chart in spec.charts:
        found[f"{chart.id}.html"] = _chart(chart, record)
    found |= {f"{arm}.md": _ways(arm, record) for arm, what in spec.arms.items() if what.compare}
    if spec.shown:
        shown = runs[f"{spec.shown}/{spec.seeds[0]}"]
        curve = _curve(shown)
        found |= {
            "loss.html": _figure(curve, record, _curve_table(shown)),
            "player.html": _player(curve, shown, record),
            "scores.html": _figure(_scores(shown), record, _score_table(shown)),
            "answers.md": _answers(shown["samples"]),
            "facts.md": _facts(experiment, shown, record),
            "seeds.md": _seeds([run for run in runs.values() if run["arm"] == spec.shown]),
        }
    return found


def overview(experiments: Mapping[str, Experiment], records: Records) -> str:
    """Every experiment that was carried out: its question, its claims and how they came out, its pictures."""
    parts = [_summary(experiments, records)]
    for name, record in records.items():
        spec = experiments[name].spec
        runs = len(record["runs"])
        cost = f"{runs} run{'s' * (runs > 1)}, {_minutes(record['seconds'])}"
        pictures = "".join(_chart(chart, record) for chart in spec.charts)
        parts.append(f"## {spec.title} {{ #{name} }}\n\n{spec.question} {cost}: `ftdemo record {name}`\n")
        parts.append(_claims(record))
        parts.append(pictures)
    return "\n".join(parts)


def _summary(experiments: Mapping[str, Experiment], records: Records) -> str:
    """One line an experiment: how many of its claims hold, and how long it takes to see for oneself."""
    lines = ["| experiment | claims | hold | do not | not shown | to repeat |", "| --- |" + " ---: |" * 5]
    for name, record in records.items():
        verdicts = Counter(claim["verdict"] for claim in record["claims"])
        counts = " | ".join(str(verdicts[verdict]) for verdict in _VERDICTS)
        title = f"[{experiments[name].spec.title}](#{name})"
        lines.append(f"| {title} | {len(record['claims'])} | {counts} | {_minutes(record['seconds'])} |")
    return "\n".join(lines) + "\n"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _rewritten(match: re.Match[str], records: Records) -> str:
    form = _PRINTED.match(match["printed"])
    if not form:
        raise DataError(
            f"`{match[0]}` is not a number with %, kB, MB, GB, min or no unit.", "Write it like 0.98, 98% or 9.8 MB."
        )
    value = recorded(records, match["key"]) * _UNITS[form["unit"]]
    printed = f"{value:,.{len(form['decimals'] or '')}f}{form['unit']}"
    return f'<data value="{match["key"]}">{printed}</data>'


def _curve(run: dict[str, Any]) -> str:
    return charts.curve_chart(run["curve"], run["heldout"], run["started"]["total_steps"])


def _scores(run: dict[str, Any]) -> str:
    return charts.score_chart(run["scores"].get("before", {}), run["scores"].get("after", {}))


def _point(runs: dict[str, Any], arm: str, chart: Chart) -> Point:
    each = [number(value) for value in look_up(runs, f"{arm}:{chart.y}")]
    return Point(chart.x.get(arm, 0.0), *over_seeds(each), tuple(each))


def _named_point(runs: dict[str, Any], key: str) -> Point:
    """The mean over seeds. Its interval is the wider one of two: over seeds, and over the rows of each run."""
    found = look_up(runs, key)
    each = [number(value) for value in found]
    mean, low, high = over_seeds(each)
    over_rows = [value for value in found if isinstance(value, dict)]
    if over_rows:
        low = min(low, statistics.fmean(value["low"] for value in over_rows))
        high = max(high, statistics.fmean(value["high"] for value in over_rows))
    return Point(0.0, mean, low, high, tuple(each))


def _chart(chart: Chart, record: dict[str, Any]) -> str:
    """A picture that the experiment asks for, with its numbers as a table."""
    runs = record["runs"]
    arms = list(dict.fromkeys(run["arm"] for run in runs.values()))
    if chart.lines:
        series = {
            name: sorted((_point(runs, arm, chart) for arm in members), key=lambda point: point.x)
            for name, members in chart.lines.items()
        }
        svg = charts.lines_chart(series, chart.title, x_label=chart.label, log=chart.log, y_min=chart.lowest)
        rows = [[name, f"{point.x:g}", *_spread(point)] for name, line in series.items() for point in line]
        return _figure(svg, record, _table(["", chart.label, "mean", "95% interval", "runs"], rows))
    points = {name: _named_point(runs, key) for name, key in chart.points.items()}
    points = points or {arm: _point(runs, arm, chart) for arm in chart.x or arms}
    svg = charts.arms_chart(points, chart.title, chart.label, lowest=chart.lowest)
    rows = [[arm, *_spread(point)] for arm, point in points.items()]
    return _figure(svg, record, _table(["", "mean", "95% interval", "runs"], rows))


def _spread(point: Point) -> list[str]:
    each = ", ".join(f"{value:.3g}" for value in point.each)
    return [f"{point.y:.3g}", f"{point.low:.3g} to {point.high:.3g}", each]


def _figure(svg: str, record: dict[str, Any], table: str) -> str:
    """A picture, where it comes from, and its numbers as a table."""
    numbers = f"<details><summary>The numbers</summary>{table}</details>"
    return f'<figure class="ft-figure">{svg}{numbers}<figcaption>{_origin(record)}</figcaption></figure>\n'


def _origin(record: dict[str, Any]) -> str:
    machine = record["hardware"]
    command = f"<code>ftdemo record {escape(record['experiment'])}</code>"
    device = f"{machine['cores']} cores of {escape(machine['device_name'])}"
    return f"Recorded on {record['created'][:10]}, {device}. Repeat it: {command}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        first = f'<th scope="row">{escape(cells[0])}</th>'
        return f"<tr>{first}{''.join(f'<td>{escape(cell)}</td>' for cell in cells[1:])}</tr>"

    columns = "".join(f'<th scope="col">{escape(cell)}</th>' if cell else "<td></td>" for cell in head)
    return f"<table><thead><tr>{columns}</tr></thead><tbody>{''.join(map(line, rows))}</tbody></table>"


def _curve_table(run: dict[str, Any]) -> str:
    """The held-out losses, and the training loss at or before those steps."""
    rows = []
    for step, loss in run["heldout"]:
        before = [value for at, value in run["curve"] if at <= step]
        rows.append([str(step), f"{before[-1]:.3f}" if before else "", f"{loss:.3f}"])
    return _table(["step", "training loss", "held-out loss"], rows)


def _score_table(run: dict[str, Any]) -> str:
    """The scores before and after."""
    before, after = run["scores"].get("before", {}), run["scores"].get("after", {})
    return _table(["", "before", "after"], [[name, f"{before[name]:.2f}", f"{after[name]:.2f}"] for name in after])


def _player(svg: str, run: dict[str, Any], record: dict[str, Any]) -> str:
    """The shown run, step by step: a static picture, with the data by which the web component brings it to life."""
    steps = run["started"]["total_steps"]
    data = {
        "frame": charts.curve_plot(run["curve"], run["heldout"], steps).frame,
        "curve": run["curve"],
        "heldout": run["heldout"],
        "samples": run["samples"],
    }
    # Nothing in it may end the script or begin another one.
    packed = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    # The outer element is one that Markdown knows, and so leaves alone with all that it holds.
    return (
        f'<div class="ft-run"><ft-player>{_figure(svg, record, _curve_table(run)).strip()}'
        f'<script type="application/json">{packed}</script></ft-player></div>\n'
    )


def _answers(samples: list[dict[str, Any]]) -> str:
    """The first answers of the shown run, before and after."""
    before, after = samples[0], samples[-1]
    parts = []
    for old, new in zip(before["answers"], after["answers"], strict=True):
        parts.append(
            f'<div class="ft-exchange"><p class="ft-letter">{_lines(old["prompt"])}</p>'
            f'<div class="ft-pair"><div><strong>Before</strong><p class="ft-said">{_lines(old["text"])}</p></div>'
            f'<div><strong>After</strong><p class="ft-said">{_lines(new["text"])}</p></div></div></div>'
        )
    return "\n\n".join(parts) + "\n"


def _lines(text: str) -> str:
    return "<br>".join(escape(line) for line in text.strip().splitlines() if line.strip())


def _claims(record: dict[str, Any]) -> str:
    """What was claimed, and how it came out."""
    rows = [
        [
            claim["says"],
            with_interval(claim, ".3g"),
            claim["bound"],
            _VERDICTS[claim["verdict"]],
        ]
        for claim in record["claims"]
    ]
    return _table(["Claim", "Measured (95% interval)", "Bound", "So it"], rows) + "\n"


def _ways(arm: str, record: dict[str, Any]) -> str:
    """All approaches on one task, as means over the seeds."""
    runs = [run for run in record["runs"].values() if run["arm"] == arm]
    head, rows = table_of(
        {way: _mean_way([run["ways"][way] for run in runs]) for way in runs[0]["ways"]}, runs[0]["quality_is"]
    )
    return f"{_table(head, rows)}\n"


def _mean_way(each: list[Any]) -> Any:
    """The mean of like values, however deep they lie."""
    if isinstance(each[0], dict):
        return {key: _mean_way([one[key] for one in each]) for key in each[0] if key != "answers"}
    return None if each[0] is None else statistics.fmean(each)


def _arms(record: dict[str, Any]) -> str:
    """Every arm's scores after training, held-out loss, cost and size, as means over its runs."""
    by_arm: dict[str, list[dict[str, Any]]] = {}
    for run in record["runs"].values():
        by_arm.setdefault(run["arm"], []).append(run)
    trained = {arm: runs for arm, runs in by_arm.items() if "heldout_loss" in runs[0]}
    names = list(dict.fromkeys(name for runs in trained.values() for name in runs[0]["scores"].get("after", {})))
    rows = []
    for arm, runs in trained.items():
        scores = [_mean_of([run["scores"].get("after", {}).get(name) for run in runs]) for name in names]
        loss = _mean_of([run["heldout_loss"].get("after") for run in runs])
        seconds = f"{statistics.fmean(run['seconds'] for run in runs):.0f}"
        moved = f"{runs[0]['started']['trainable_parameters']:,}"
        rows.append([arm, *scores, loss, seconds, moved])
    head = ["", *(name.replace("_", " ") for name in names), "held-out loss", "seconds", "trained parameters"]
    return _table(head, rows) + "\n"


def _mean_of(values: list[float | None]) -> str:
    found = [value for value in values if value is not None]
    return f"{statistics.fmean(found):.2f}" if found else "–"


def _facts(experiment: Experiment, run: dict[str, Any], record: dict[str, Any]) -> str:
    recipe, machine, versions, started = run["recipe"], record["hardware"], record["versions"], run["started"]
    share = started["trainable_parameters"] / started["total_parameters"]
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers", "peft", "ftdemo"))
    full = experiment.spec.recipe_of(run["arm"], run["seed"], quick=False)
    rows = {
        "Model": full.model,
        "Data": f"{full.data}, {started['examples']:,} examples, {run['tokens']:,} tokens read",
        "Method": full.method + (f", rank {full.rank}, alpha {full.alpha:g}" if full.is_low_rank else ""),
        "Learning rate": f"{full.lr:g}, {full.schedule}",
        "Trainable parameters": f"{started['trainable_parameters']:,} ({share:.2%} of all)",
        "On disk": f"{run['saved_bytes'] / 1e6:.1f} MB",
        "Training": f"{run['steps']:,} steps in {run['seconds']:.0f} s, {run['tokens_per_second']:,.0f} tokens/s",
        "Peak memory": f"{run['peak_memory_bytes'] / 1e9:.1f} GB, the whole process",
        "Machine": f"{machine['cores']} cores of {machine['device_name']}, products in {started['dtype']}",
        "Versions": libraries,
        "Seed": str(recipe.get("seed", 0)),
        "Recorded": record["created"][:10],
        "Do it again": f"`ftdemo record {experiment.name}`",
    }
    return "| The run | What it was |\n| --- | --- |\n" + "".join(
        f"| {name} | {value} |\n" for name, value in rows.items()
    )


def _seeds(runs: list[dict[str, Any]]) -> str:
    """The scores of every seed, their mean, and the spread from lowest to highest."""
    names = list(runs[0]["scores"]["after"])
    columns = [f"{name} before | {name} after" for name in names]
    lines = [
        f"| seed | {' | '.join(columns)} | held-out loss | seconds |",
        "| --- |" + " ---: |" * (2 * len(names) + 2),
    ]
    table = [_score_row(run, names) for run in runs]
    for run, row in zip(runs, table, strict=True):
        lines.append(f"| {run['seed']} | {_cells(row)} |")
    columns_of_values = list(zip(*table, strict=True))
    lines.append(f"| **mean** | {_cells([statistics.fmean(column) for column in columns_of_values])} |")
    lines.append(f"| lowest | {_cells([min(column) for column in columns_of_values])} |")
    lines.append(f"| highest | {_cells([max(column) for column in columns_of_values])} |")
    return "\n".join(lines) + "\n"


def _score_row(run: dict[str, Any], names: list[str]) -> list[float]:
    scores = [run["scores"][when][name] for name in names for when in ("before", "after")]
    return [*scores, run["heldout_loss"]["after"], run["seconds"]]


def _cells(values: Sequence[float]) -> str:
    return " | ".join([f"{value:.2f}" for value in values[:-1]] + [f"{values[-1]:.0f}"])
