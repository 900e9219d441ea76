"""The shell's commands that help to choose before anything is built: `ftdemo compare` and `ftdemo estimate`."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ftdemo.cli.terminal import ctrl_c_sets
from ftdemo.errors import STOPPED_BY_CTRL_C, StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ftdemo.comparison.advice import Measured
    from ftdemo.comparison.approaches import Task, Way
    from ftdemo.comparison.compare import Comparison
    from ftdemo.estimate.forecast import Forecast
    from ftdemo.events import Event

RESULT, PICTURE, TUNED = "comparison.json", "quality.svg", "fine-tuned"
"""The files of a comparison, and the folder of its tuned model."""


@click.command()
@click.argument("what", metavar="facts|form|FILE|FOLDER")
@click.option("--model", default="smollm2", show_default=True, help="The model that answers: a name, folder or Hub id.")
@click.option("--documents", type=click.Path(path_type=Path), help="Passages to search in: a file or folder of texts.")
@click.option("--instruction", default="", help="What a model that was not tuned is told first.")
@click.option("--search", type=click.Choice(["bm25", "minilm"]), default="bm25", show_default=True)
@click.option("--ways", metavar="WAY,…", help="Only these approaches. Default: all five.")
@click.option("--rows", type=click.IntRange(1), help="Ask only the first N questions.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0, 2**32 - 1))
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change a key of the tuning recipe.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the result. Default: runs/compare-<time>.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def compare(
    what: str,
    model: str,
    documents: Path | None,
    instruction: str,
    search: str,
    ways: str | None,
    rows: int | None,
    seed: int,
    settings: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Ask a model the same questions by prompting, retrieval and fine-tuning, and say which to take.

    Two tasks come along: *facts*, about what a shop sells, and *form*, orders as strict JSON. Of your own, name a file
    of rows, or a folder with train.jsonl and heldout.jsonl; with `--documents`, retrieval looks there. The approaches
    are zero-shot, few-shot, rag, fine-tuning and fine-tuning+rag. Ctrl-C keeps what was measured.
    """
    from ftdemo.comparison import approaches
    from ftdemo.comparison import compare as engine
    from ftdemo.recipe import parse_setting

    known = approaches.tasks()
    if what in known:
        if documents or instruction:
            raise UsageError(f"{what} brings its own instruction and documents.", "Give them with data of your own.")
        task = known[what]
    elif not Path(what).exists():
        raise UsageError(f"There is no task and no file {what}.", f"Name {' or '.join(known)}, or rows of your own.")
    else:
        task = approaches.own_task(Path(what), instruction=instruction, documents=documents)
    chosen = _ways(ways, approaches.WAYS)
    out = out or Path("runs") / f"compare-{datetime.now():%Y%m%d-%H%M%S}"
    if out.exists():
        raise UsageError(f"{out} exists already.", "Name another folder with `--out`.")
    with ctrl_c_sets() as stop:
        events = engine.run_comparison(
            task,
            out / TUNED,
            model=model,
            seed=seed,
            rows=rows,
            ways=chosen,
            search=search,
            settings=dict(parse_setting(text) for text in settings),
            stop=stop,
        )
        comparison = _followed(events, task)
        if comparison is not None:
            _keep(comparison, out)
            click.echo(engine.as_json(comparison), nl=False) if as_json else _show(comparison, out)
    if stop.is_set():
        sys.exit(STOPPED_BY_CTRL_C)


def _ways(text: str | None, known: tuple[Way, ...]) -> tuple[Way, ...]:
    named = text.split(",") if text else known
    if unknown := [name for name in named if name not in known]:
        raise UsageError(f"There is no approach {unknown[0]!r}.", f"There are: {', '.join(known)}.")
    return tuple(way for way in known if way in named)


def _followed(events: Iterator[Event | Measured | Comparison], task: Task) -> Comparison | None:
    """The comparison that the events end with; meanwhile a line says what is in hand."""
    from rich.console import Console

    from ftdemo.comparison.advice import Measured
    from ftdemo.comparison.compare import Comparison
    from ftdemo.events import Step

    console = Console(stderr=True)
    with console.status(f"{task.name}: answering") as status:
        for event in events:
            match event:
                case Step(step=step, total_steps=total, loss=loss):
                    status.update(f"{task.name}: training, step {step} of {total}, loss {loss:.3f}")
                case Measured(way=way, quality=quality):
                    console.print(f"{way}: {quality.value:.0%} of {quality.rows}")
                    status.update(f"{task.name}: answering")
                case Comparison():
                    return event
    return None


def _keep(comparison: Comparison, out: Path) -> None:
    from ftdemo import charts
    from ftdemo.comparison.advice import picture
    from ftdemo.comparison.compare import as_json

    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / RESULT).write_text(as_json(comparison), encoding="utf-8")
        svg = picture(comparison.as_dict()["ways"], comparison.quality_is)
        (out / PICTURE).write_text(charts.standalone(svg), encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{out} cannot be written: {error.strerror}.", "Name another folder with `--out`.") from None


def _show(comparison: Comparison, out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from ftdemo.comparison.advice import table

    head, rows = table(comparison.as_dict()["ways"], comparison.quality_is)
    shown = Table(*head, box=None, pad_edge=False)
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in rows:
        shown.add_row(*row)
    console = Console()
    console.print(f"{comparison.task}: {comparison.rows} questions to {comparison.model}, seed {comparison.seed}")
    console.print(shown)
    console.print(f"\n{comparison.advice}", highlight=False)
    click.echo(f"Saved in {out}: {RESULT}, {PICTURE}. Talk to the tuned model: ftdemo chat {out / TUNED}")


@click.command()
@click.argument("what", metavar="NAME|RECIPE.yaml", required=False)
@click.option("--model", help="A name, a Hub id, or a folder with a config.json: weights are not needed.")
@click.option("--method", type=click.Choice(["full", "lora", "dora", "qlora"]), help="Default: lora.")
@click.option("--rank", type=click.IntRange(1), help="Of the update.")
@click.option("--targets", metavar="NAME,…", help="The matrices that get an adapter.")
@click.option("--data", help="A built-in data set, a file or a folder.")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change a key of the recipe. Repeatable.")
@click.option("--gpu", "devices", multiple=True, metavar="NAME", help="An accelerator, H100 say. Repeatable.")
@click.option("--utilization", default=0.3, show_default=True, type=click.FloatRange(0.01, 1), help="Of its peak.")
@click.option("--price", type=click.FloatRange(0), help="What a host asks for a million training tokens.")
@click.option("--time/--no-time", "timed", default=True, help="Whether to time a few steps here.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def estimate(
    what: str | None,
    model: str | None,
    method: str | None,
    rank: int | None,
    targets: str | None,
    data: str | None,
    settings: tuple[str, ...],
    devices: tuple[str, ...],
    utilization: float,
    price: float | None,
    timed: bool,
    as_json: bool,
) -> None:
    """Say what a training would take, before it begins: parameters, memory, tokens, operations, time and money.

    Parameters and memory come from the model's configuration alone. How long it takes here comes from a few steps that
    are timed, where the model is here; on accelerators, from their makers' figures and `--utilization`.
    """
    import json

    from ftdemo.estimate.forecast import forecast
    from ftdemo.recipe import recipe_of

    named: dict[str, object] = {"model": model, "rank": rank, "data": data}
    changes = {key: value for key, value in named.items() if value is not None}
    if targets:
        changes["targets"] = targets if targets == "all-linear" else targets.split(",")
    if what and method:
        raise UsageError(f"{what} and --method both say how to train.", "Give one of them.")
    recipe = recipe_of(what or method or "lora", settings, changes)
    found = forecast(recipe, devices=devices, utilization=utilization, per_million=price, timed=timed)
    click.echo(json.dumps(found.as_dict(), indent=2)) if as_json else _tell(found, utilization)


def _tell(found: Forecast, utilization: float) -> None:
    from rich.console import Console
    from rich.table import Table

    from ftdemo.ui import page_at

    console = Console(highlight=False)
    counts, here = found.counts, found.here
    share = f"{counts.trainable:,} of {counts.total:,} parameters move ({counts.share:.2%})"
    console.print(f"{found.model} by {found.method}: {share}")
    judged = ", tokens judged by letters" if found.by_letters else ""
    rows = f"{found.rows:,} rows of {found.row_tokens:.0f} tokens{judged}"
    console.print(f"{rows}: {found.tokens:,.0f} tokens in {found.steps:,} steps, {found.operations:.2g} operations\n")
    table = Table("memory here", "GB", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for name in ("weights", "gradients", "optimizer", "activations", "logits", "workspace"):
        table.add_row(name, f"{getattr(here.memory, name) / 1e9:.2f}")
    table.add_row("libraries", f"{here.libraries_bytes / 1e9:.2f}")
    table.add_row("at most at once", f"{here.memory_bytes / 1e9:.2f} of {here.has_bytes / 1e9:.0f}")
    console.print(table)
    devices = Table("\ndevice", "\ntime", "memory\nGB", "", box=None, pad_edge=False)
    timed = _duration(here.seconds) if here.seconds is not None else f"not timed: {here.why_untimed}"
    devices.add_row(f"this machine, {here.dtype}", timed, f"{here.memory_bytes / 1e9:.1f}", "")
    for each in found.elsewhere:
        fits = "fits" if each.fits else f"does not fit: it has {each.has_bytes / 1e9:.0f}"
        devices.add_row(each.device, _duration(each.seconds), f"{each.memory_bytes / 1e9:.1f}", fits)
    console.print(devices)
    if found.elsewhere:
        assumed = f"Accelerators: training alone, in bfloat16, at {utilization:.0%} of their peak, an assumption."
        console.print(f"{assumed} What a batch is can be changed: --set batch_tokens=…")
    if found.price is not None:
        console.print(f"A host would charge {found.price:,.2f}.")
    console.print(f"Why memory is what it is: {page_at('terms/gpu-memory/')}")


def _duration(seconds: float) -> str:
    """A duration as people say it."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
