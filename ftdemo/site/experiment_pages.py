"""What pages show of experiments: their numbers, charts, tables and answers, from the records of what was run."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ftdemo import charts
from ftdemo.charts import Point
from ftdemo.comparison.advice import approach_table
from ftdemo.errors import DataError
from ftdemo.experiments.intervals import SWEEP, look_up, number, summarise
from ftdemo.experiments.spec import Chart, Experiment, Spec, claim_in_words, find_experiments
from ftdemo.site.plugins import Plugin, RecordedVerdict
from ftdemo.site.rendering import render_template

_VERDICTS = {"confirmed": "✓ confirmed", "refuted": "✗ refuted", "inconclusive": "– inconclusive"}

_Record = dict[str, Any]
"""What ``record.json`` of an experiment holds."""


class ExperimentPages(Plugin):
    """The experiments of a site, under ``docs/experiments``."""

    @cached_property
    def experiments(self) -> dict[str, Experiment]:
        """All of them, by name."""
        return find_experiments(self.project.docs / "experiments")

    @cached_property
    def records(self) -> dict[str, _Record]:
        """The records of those that were run."""
        found = {name: experiment.record() for name, experiment in self.experiments.items()}
        return {name: record for name, record in found.items() if record}

    def files(self) -> Iterator[tuple[Path, str | bytes]]:
        """What pages include of each experiment, the overview of them all, and the colours of charts."""
        folder = self.project.derived / "runs"
        for name, record in self.records.items():
            for file, text in experiment_files(self.experiments[name], record).items():
                yield folder / name / file, text
        yield folder / "overview.md", overview(self.experiments, self.records)
        yield self.project.docs / "assets" / "derived" / "charts.css", charts.CSS.lstrip()

    def number(self, key: str) -> float | None:
        """A recorded number.

        Args:
            key: ``experiment:arm:path`` for the mean over all seeds, ``experiment:arm/seed:path`` for one run,
                ``experiment:claim/id:value`` for the number that a claim was decided by.
        """
        name, _, rest = key.partition(":")
        place, _, path = rest.partition(":")
        try:
            record = self.records[name]
            if place.startswith("claim/"):
                claim = next(claim for claim in record["claims"] if claim["id"] == place.removeprefix("claim/"))
                return float(claim[path])
            return statistics.fmean(map(number, look_up(record["runs"], rest)))
        except (KeyError, StopIteration, TypeError, ValueError, DataError):
            return None

    def verdict(self, key: str) -> RecordedVerdict | None:
        """The verdict on the claim ``experiment:id``."""
        name, _, claim_id = key.partition(":")
        claims = self.records[name]["claims"] if name in self.records else []
        words = [claim["verdict"] for claim in claims if claim["id"] == claim_id]
        return RecordedVerdict(words[0], f"experiments/{name}.md") if words else None

    def runs(self) -> Mapping[str, str]:
        """Every experiment, with the day on which it last ran."""
        return {name: self.records[name]["created"][:10] if name in self.records else "" for name in self.experiments}


def experiment_files(experiment: Experiment, record: _Record) -> dict[str, str]:
    """What pages include of an experiment, by file name."""
    spec, runs = experiment.spec, record["runs"]
    found: dict[str, str] = {"claims.md": _claims(record), "arms.md": _arms(record)}
    for chart in spec.charts:
        found[f"{chart.id}.html"] = _chart(chart, record)
    if sweeps := _sweeps(record):
        found["sweeps.html"] = sweeps
    found |= {f"{name}.md": _approaches(name, record) for name, arm in spec.arms.items() if arm.compare}
    if spec.shown:
        run = runs[f"{spec.shown}/{spec.seeds[0]}"]
        loss = _figure(charts.curve_chart(run["curve"], run["heldout"], _steps(run)), record, _curve_table(run))
        before, after = run["scores"].get("before", {}), run["scores"].get("after", {})
        found |= {
            "loss.html": loss,
            "player.html": _player(loss, run),
            "scores.html": _figure(charts.score_chart(before, after), record, _score_table(before, after)),
            "answers.md": _answers(run["samples"]),
            "facts.md": _facts(experiment, run, record),
            "seeds.md": _seeds([run for run in runs.values() if run["arm"] == spec.shown]),
        }
    return found | {"page.md": _page(experiment, record, found)}


def overview(experiments: Mapping[str, Experiment], records: Mapping[str, _Record]) -> str:
    """Every experiment that was run: its question, how its claims were decided, and how long it takes to repeat."""
    head = "| Experiment | Question | Confirmed | Refuted | Inconclusive | Time to repeat |"
    lines = [head, "| --- | --- |" + " ---: |" * 4]
    for name, record in records.items():
        verdicts = Counter(claim["verdict"] for claim in record["claims"])
        counts = " | ".join(str(verdicts[verdict]) for verdict in _VERDICTS)
        spec = experiments[name].spec
        title = f"[{spec.title}](experiments/{name}.md)"
        lines.append(f"| {title} | {spec.question} | {counts} | {_minutes(record['seconds'])} |")
    return "\n".join(lines) + "\n"


def _page(experiment: Experiment, record: _Record, parts: Mapping[str, str]) -> str:
    """What an experiment's own page shows: the findings first, and below them the parts that prove them."""
    spec = experiment.spec
    claims = [
        {"verdict": _VERDICTS[claim["verdict"]], "says": claim["says"], "measured": claim_in_words(claim)}
        for claim in record["claims"]
    ]
    return render_template(
        "experiment.md",
        name=experiment.name,
        spec=spec,
        setting=_setting(spec, record),
        claims=claims,
        figures=[parts[f"{chart.id}.html"].strip() for chart in spec.charts],
        player=parts.get("player.html", ""),
        answers=parts.get("answers.md", ""),
        claims_table=parts["claims.md"].strip(),
        arms_table=parts["arms.md"].strip(),
        approaches={name: parts[f"{name}.md"].strip() for name, arm in spec.arms.items() if arm.compare},
        sweeps=parts.get("sweeps.html", "").strip(),
        time=_minutes(record["seconds"]),
    )


def _setting(spec: Spec, record: _Record) -> str:
    """What was run, on which data and models, and by which machine, in two sentences."""
    recipes = [run["recipe"] for run in record["runs"].values() if "recipe" in run]
    arms, seeds = len(spec.arms), len(spec.seeds)
    what = f"{arms} arm{'s' * (arms > 1)} with {seeds} seed{'s' * (seeds > 1)} each"
    models = _named(recipes, spec, "model")
    data = _named(recipes, spec, "data")
    machine = record["hardware"]
    where = f"{machine['cores']} cores of {machine['device_name']}"
    formats = f", in {_number_format(record)}" if _number_format(record) else ""
    on = f" on {data}" if data else ""
    return (
        f"We ran {what}{on}{f', with {models}' if models else ''}. "
        f"It took {_minutes(record['seconds'])} on {where}{formats}, on {record['created'][:10]}."
    )


def _named(recipes: Sequence[Mapping[str, Any]], spec: Spec, key: str) -> str:
    """All that the runs' recipes name under a key, as a list in words."""
    found = dict.fromkeys(str(recipe.get(key) or spec.recipe.get(key) or "") for recipe in recipes or [spec.recipe])
    names = [f"`{name}`" for name in found if name and name != "new"]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _point(runs: dict[str, Any], key: str, x: float = 0.0) -> Point:
    """A number with its interval; without one where only runs are known, which the chart shows each."""
    found = summarise(runs, key)
    each = tuple(number(value) for value in look_up(runs, key))
    low, high = (found.value, found.value) if found.runs else (found.low, found.high)
    return Point(x, found.value, low, high, each)


def _chart(chart: Chart, record: _Record) -> Markup:
    """A chart that the experiment lists, with its numbers as a table."""
    runs = record["runs"]
    arms = list(dict.fromkeys(run["arm"] for run in runs.values()))
    if chart.sweeps:
        swept = {name: _sweep_of(record, arm) for name, arm in chart.sweeps.items()}
        series = {name: _sweep_points(sweep) for name, sweep in swept.items()}
        svg = charts.lines_chart(series, chart.title, x_label=chart.label, log=True, y_min=chart.lowest)
        return _figure(svg, record, _sweep_table(swept))
    if chart.lines:
        series = {
            name: sorted((_point(runs, f"{arm}:{chart.y}", chart.x[arm]) for arm in members), key=lambda point: point.x)
            for name, members in chart.lines.items()
        }
        svg = charts.lines_chart(series, chart.title, x_label=chart.label, log=chart.log, y_min=chart.lowest)
        rows = [[name, f"{point.x:g}", *_spread(point)] for name, line in series.items() for point in line]
        return _figure(svg, record, _table(["line", chart.label, "mean", "95% interval", "runs"], rows))
    keys = dict(chart.points) or {arm: f"{arm}:{chart.y}" for arm in chart.x or arms}
    points = {name: _point(runs, key) for name, key in keys.items()}
    svg = charts.arms_chart(points, chart.title, chart.label, lowest=chart.lowest)
    rows = [[arm, *_spread(point)] for arm, point in points.items()]
    return _figure(svg, record, _table(["arm", "mean", "95% interval", "runs"], rows))


def _sweeps(record: _Record) -> Markup:
    """The learning rates that each arm tried, and what was chosen; folded, and empty where no arm tried any."""
    arms = {run["arm"]: run[SWEEP] for run in record["runs"].values() if SWEEP in run}
    return render_template("sweeps.html", table=_sweep_table(arms)) if arms else Markup("")


def _sweep_of(record: _Record, arm: str) -> dict[str, Any]:
    return next(run[SWEEP] for run in record["runs"].values() if run["arm"] == arm)


def _sweep_points(sweep: Mapping[str, Any]) -> list[Point]:
    tried = ((float(rate), loss) for rate, loss in sweep["losses"].items() if loss is not None)
    return [Point(rate, loss, loss, loss) for rate, loss in tried]


def _sweep_table(sweeps: Mapping[str, Mapping[str, Any]]) -> Markup:
    """Every rate that was tried with its validation loss."""
    rows = []
    for arm, sweep in sweeps.items():
        tried = ", ".join(f"{rate}: {_loss_in_words(loss)}" for rate, loss in sweep["losses"].items())
        best = f"{sweep['best']:g}" + (", at the end of the range" if sweep["at_edge"] else "")
        rows.append([arm, best, tried, f"{sweep['train_rows']} and {sweep['validation_rows']}"])
    return _table(["arm", "best rate", "validation loss at each rate", "examples to train on and to validate by"], rows)


def _loss_in_words(loss: float | None) -> str:
    return "diverged" if loss is None else f"{loss:.3f}"


def _spread(point: Point) -> list[str]:
    each = ", ".join(f"{value:.3g}" for value in point.each)
    interval = f"{point.low:.3g} to {point.high:.3g}" if point.low < point.high else ""
    return [f"{point.y:.3g}", interval, each]


def _figure(svg: str, record: _Record, table: Markup) -> Markup:
    """A chart, when and where it was recorded, and its numbers as a table."""
    return render_template("figure.html", svg=svg, record=record, table=table, number_format=_number_format(record))


def _number_format(record: _Record) -> str:
    """The number format in which the runs multiplied: two records can differ in it, and so in their numbers."""
    formats = {run.get("started", run).get("dtype") for run in record["runs"].values()}
    return " and ".join(sorted(formats - {None}))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    return render_template("table.html", head=head, rows=rows).rstrip()


def _curve_table(run: dict[str, Any]) -> Markup:
    """The held-out losses, and the training loss at or before those steps."""
    rows = []
    for step, loss in run["heldout"]:
        before = [value for at, value in run["curve"] if at <= step]
        rows.append([str(step), f"{before[-1]:.3f}" if before else "", f"{loss:.3f}"])
    return _table(["step", "training loss", "held-out loss"], rows)


def _score_table(before: Mapping[str, float], after: Mapping[str, float]) -> Markup:
    return _table(["score", "before", "after"], [[name, f"{before[name]:.2f}", f"{after[name]:.2f}"] for name in after])


def _player(loss: Markup, run: dict[str, Any]) -> str:
    """A run, step by step: the figure of its loss, with the data by which the web component brings it to life."""
    data = {
        "frame": charts.curve_plot(run["curve"], run["heldout"], _steps(run)).frame,
        "curve": run["curve"],
        "heldout": run["heldout"],
        "samples": run["samples"],
    }
    return render_template("player.html", figure=loss.strip(), data=data)


def _steps(run: dict[str, Any]) -> int:
    steps: int = run["started"]["total_steps"]
    return steps


def _answers(samples: list[dict[str, Any]]) -> str:
    """The first answers of a run, before and after."""
    return render_template("answers.html", pairs=zip(samples[0]["answers"], samples[-1]["answers"], strict=True))


def _claims(record: _Record) -> str:
    """What was claimed, what was measured, and the verdict."""
    rows = [
        [claim["says"], claim_in_words(claim), claim["bound"], _VERDICTS[claim["verdict"]]]
        for claim in record["claims"]
    ]
    return _table(["Claim", "Measured (95% interval)", "Bound", "Verdict"], rows) + "\n"


def _approaches(arm: str, record: _Record) -> str:
    """All approaches on one task, as means over the seeds."""
    runs = [run for run in record["runs"].values() if run["arm"] == arm]
    means = {name: _mean_of_all([run["ways"][name] for run in runs]) for name in runs[0]["ways"]}
    return _table(*approach_table(means, runs[0]["quality_is"])) + "\n"


def _mean_of_all(values: list[Any]) -> Any:
    """The mean of numbers; of nested records, the means of all the numbers in them."""
    if isinstance(values[0], dict):
        return {key: _mean_of_all([value[key] for value in values]) for key in values[0] if key != "answers"}
    return None if values[0] is None else statistics.fmean(values)


def _arms(record: _Record) -> str:
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
        trainable = f"{runs[0]['started']['trainable_parameters']:,}"
        rows.append([arm, *scores, loss, seconds, trainable])
    head = ["arm", *(name.replace("_", " ") for name in names), "held-out loss", "seconds", "trained parameters"]
    return _table(head, rows) + "\n"


def _mean_of(values: list[float | None]) -> str:
    found = [value for value in values if value is not None]
    return f"{statistics.fmean(found):.2f}" if found else "–"


def _facts(experiment: Experiment, run: dict[str, Any], record: _Record) -> str:
    recipe, machine, versions, started = run["recipe"], record["hardware"], record["versions"], run["started"]
    share = started["trainable_parameters"] / started["total_parameters"]
    libraries = ", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers", "peft", "ftdemo"))
    full = experiment.spec.recipe_of(run["arm"], run["seed"], quick=False, lr=started.get("lr"))
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
