"""What to do with a finished run: `ftdemo evaluate` and `chart`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftdemo.cli.terminal import UserPath, name_or_path, plain_console, print_json
from ftdemo.data.atomic import atomic_write
from ftdemo.errors import DataError, UsageError, writing

if TYPE_CHECKING:
    from ftdemo.runs.heldout import Heldout
    from ftdemo.runs.run import Run


@click.command("evaluate")
@click.argument("run", type=UserPath())
@click.option(
    "--data",
    metavar="FILE|SET",
    type=name_or_path,
    help="Evaluate on these examples. Default: those that the run held out.",
)
@click.option("--rows", type=click.IntRange(1), help="Use only the first N examples.")
@click.option("--base", metavar="MODEL", type=name_or_path, help="Base model of the adapter: a folder or a Hub id.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def evaluate_command(run: Path, data: str | None, rows: int | None, base: str | None, as_json: bool) -> None:
    """Evaluate a run's model before and after training.

    The table shows held-out loss, scores and old skill (what the base could do), each with its 95% interval.
    """
    from ftdemo.evaluation.evaluate import evaluate_before_and_after, evaluations_as_dict
    from ftdemo.runs.run import Run

    loaded = Run.load(run)
    if base and not loaded.has_base:
        raise UsageError(f"--base has no effect: {run} has no base to evaluate.", "Leave it out.")
    name = data or loaded.recipe.data
    found = _rows_to_evaluate(loaded, data)
    if not found.rows:
        raise UsageError(f"{name} has no held-out examples, because it is too short.", "Name a file with `--data`.")
    result = evaluations_as_dict(
        evaluate_before_and_after(loaded, found.rows[:rows], found.trials[:rows], data=name, base=base)
    )
    if as_json:
        return print_json(result, indent=2)
    _print_evaluation(result)


def _rows_to_evaluate(run: Run, data: str | None) -> Heldout:
    """The examples that a run held out, or those that the user names; what is not certain about them is printed."""
    from ftdemo.data import load_splits, stream_rows
    from ftdemo.runs.heldout import Heldout, find_heldout

    trained_on = run.recipe.data
    is_same = data is not None and Path(data).exists() and Path(trained_on).exists() and Path(data).samefile(trained_on)
    if data and not is_same and data != trained_on:
        if Path(data).is_file():
            return Heldout(tuple(stream_rows(Path(data))))
        splits = load_splits(data, seed=run.recipe.seed)
        return Heldout(splits.heldout, splits.trials)
    try:
        found = find_heldout(run)
    except DataError as error:
        remedy = "Restore the data, or use `--data` to name examples that the run was not trained on."
        raise DataError(error.what, remedy) from None
    if is_same and Path(trained_on).is_file():
        click.echo(
            f"The run was trained on {trained_on}, so only the {len(found.rows)} examples that it held out are used.",
            err=True,
        )
    if found.missing:
        held = len(found.rows) + found.missing
        what = f"{trained_on} has changed: {found.missing} of the {held} examples that the run held out are missing."
        click.echo(f"{what} The other {len(found.rows)} are used.", err=True)
    if not found.is_recorded:
        what = "The run does not record which examples it held out, so ftdemo chooses them again by its seed."
        click.echo(f"{what} If {trained_on} has changed, the run was trained on some of them.", err=True)
    return found


def _print_evaluation(result: dict[str, Any]) -> None:
    from rich.table import Table

    from ftdemo.evaluation.evaluate import with_interval

    table = Table("", "examples", "before", "after", box=None, pad_edge=False)
    for part, title in (("heldout", "held-out"), ("old_skill", "old skill")):
        for name, after in result["after"][part].items():
            before = result["before"][part].get(name) if result["before"] else None
            figures = [with_interval(figure, ".3f") if figure else "-" for figure in (before, after)]
            table.add_row(f"{title}: {name}", str(after["rows"]), *figures)
    plain_console().print(table)


@click.command("chart")
@click.argument("run", type=UserPath())
@click.option(
    "--of", "what", type=click.Choice(["loss", "scores"]), default="loss", show_default=True, help="Values to draw."
)
@click.option("--out", type=UserPath(dir_okay=False), help="A .png or .svg file. Default: loss.png.")
def chart_command(run: Path, what: str, out: Path | None) -> None:
    """Draw the loss or the scores of a run."""
    from ftdemo import charts
    from ftdemo.runs.run import Run

    loaded, out = Run.load(run), out or Path(f"{what}.png")
    if out.suffix not in (".png", ".svg"):
        raise UsageError(f"{out} does not end in .png or .svg.", "Name a file that does.")
    scores = loaded.record["scores"]
    if what == "scores" and not scores.get("after"):
        raise UsageError(f"{run} has no scores.", "Draw its loss: `--of loss`.")
    svg = (
        charts.loss_chart(loaded.events)
        if what == "loss"
        else charts.score_chart(scores.get("before", {}), scores["after"])
    )
    picture = charts.as_png(svg) if out.suffix == ".png" else charts.standalone(svg).encode()
    with writing(out, "Name another file with `--out`."), atomic_write(out, replace=True) as new:
        new.write_bytes(picture)
    click.echo(f"Written: {out}")
