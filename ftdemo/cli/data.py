"""Data before training: `ftdemo check-data` and `ftdemo inspect`."""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftdemo.cli.recipe_options import RecipeCommand, parse_value
from ftdemo.cli.terminal import first_few
from ftdemo.errors import UsageError
from ftdemo.ui import page_at

if TYPE_CHECKING:
    from ftdemo.data.check import Report
    from ftdemo.data.tokenize import Examples
    from ftdemo.recipe import Recipe


_BAR = 40
"""Signs of the longest bar of a histogram."""


@click.command("check-data")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--model", default="tiny", show_default=True, help="Whose tokens are counted: a name, a folder, a Hub id."
)
@click.option(
    "--max-length", default=512, show_default=True, type=click.IntRange(2), help="Tokens that a row may have."
)
@click.option(
    "--against", type=click.Path(path_type=Path), metavar="FILE", help="Rows to judge by: are any among them?"
)
@click.option("--map", "mapped", metavar="OURS=THEIRS", multiple=True, help="A column's own name. Repeatable.")
@click.option("--fix", type=click.Path(path_type=Path), metavar="OUT", help="Write a cleaned copy as JSON lines.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def check_data_command(
    file: Path,
    model: str,
    max_length: int,
    against: Path | None,
    mapped: tuple[str, ...],
    fix: Path | None,
    as_json: bool,
) -> None:
    """Say what is in a file of rows, what is wrong with it, and why that matters, before anything is trained.

    What kind of file it is and how its rows are written, is found out. Where columns have names of their own, say which
    are which: `--map prompt=question --map completion=reply`. `--fix` leaves out what cannot be trained on or stands
    there twice, and lists it beside the copy; the file itself is never touched. It ends with 2 where rows cannot be
    used, unless a cleaned copy was asked for.
    """
    from ftdemo.data.check import CHANGES, check_file
    from ftdemo.data.rows import KEYS
    from ftdemo.models.load import load_tokenizer, resolve

    def tell(rows: int) -> None:
        click.echo(f"\r{rows:,} rows …", nl=False, err=True)

    columns = {}
    for text in mapped:
        ours, equals, theirs = text.partition("=")
        if not equals or not theirs or ours not in KEYS:
            what = f"--map {text}: a name of ours is expected, an equals sign, and the file's own name."
            raise UsageError(what, f"Our names are: {', '.join(KEYS)}.")
        columns[theirs] = ours
    source = resolve(model)
    counted = tell if sys.stderr.isatty() else None
    report = check_file(
        file,
        load_tokenizer(source),
        model=model,
        max_length=max_length,
        against=against,
        columns=columns,
        fix=fix,
        progress=counted,
    )
    if counted:
        click.echo("\r", nl=False, err=True)
    click.echo(json.dumps(report.as_dict(), indent=2, ensure_ascii=False)) if as_json else _print_report(report)
    if fix:
        kept = report.rows - report.left_out
        click.echo(f"\n{fix}: {kept:,} kept. {report.left_out:,} left out: see {fix}{CHANGES}.", err=as_json)
    elif report.good < report.rows:
        sys.exit(UsageError.exit_code)


def _print_report(report: Report) -> None:
    bad = f", {report.good:,} of them good" if report.good < report.rows else ""
    click.echo(f"{report.file}: {report.rows:,} {'row' if report.rows == 1 else 'rows'}{bad}.")
    for shape, rows in report.shapes.items():
        click.echo(f"{rows:,} known by {shape}.")
    if report.good:
        bins = report.histogram()
        most = max(rows for *_, rows in bins)
        click.echo(f"\n{report.tokens:,} tokens of {report.model}, {report.median_length():,} in the middle row:")
        for low, high, rows in bins:
            click.echo(f"{low:>9,} to {high:<9,} {'▇' * round(_BAR * rows / most)} {rows:,}")
    if report.labels:
        click.echo("\nLabels: " + ", ".join(f"{label} {rows:,}" for label, rows in islice(report.labels.items(), 20)))
    for finding in report.findings:
        one = finding.count == 1
        click.secho(f"\n{finding.count:,} {'row' if one else 'rows'}", bold=True, nl=False)
        click.echo(f", {finding.says}.")
        if finding.rows:
            more = f" and {finding.count - len(finding.rows):,} more" if finding.count > len(finding.rows) else ""
            click.echo(f"  {'line' if one else 'lines'} {', '.join(f'{row:,}' for row in finding.rows)}{more}")
        for example in finding.examples[:3]:
            click.echo(f"  {example}")
        click.echo(f"  {page_at(finding.page)}")
    if not report.findings:
        click.echo("\nNothing was found that speaks against training on it.")


@click.command("inspect", cls=RecipeCommand)
@click.argument("what", metavar="NAME|RECIPE.yaml|DATA")
@click.option("--rows", default=3, show_default=True, type=click.IntRange(1), help="Number of examples to show.")
def inspect_command(what: str, rows: int, changes: dict[str, Any]) -> None:
    """Show which tokens of each example are trained.

    Trained tokens are in colour. Name a recipe, a recipe file, a data file or a built-in data set. Data is shown as the
    recipe lora would train on it.
    """
    from ftdemo.recipe import NAMED, recipe_of
    from ftdemo.training.inspection import inspect_recipe

    if what in NAMED or what.endswith((".yaml", ".yml")):
        recipe = recipe_of(what, changes)
    elif "data" in changes:
        raise UsageError(f"{what} and --data both name the data.", "Give one of them.")
    else:
        recipe = recipe_of("lora", {"data": parse_value("data", what), **changes})
    seen = inspect_recipe(recipe)
    for example in seen.examples[:rows]:
        cut = f", cut at {recipe.max_length}" if example.truncated else ""
        click.secho(f"row {example.row}: {len(example)} tokens, {example.trained_tokens} trained{cut}", bold=True)
        for text, trained in seen.spans(example):
            click.echo(_marked(text) if trained else click.style(text, dim=True), nl=False)
        click.echo("\n")
    _tell_rows(seen.examples, recipe)


def _marked(text: str) -> str:
    """Trained text: green, or between marks where there are no colours."""
    return click.style(text, fg="green", bold=True) if sys.stdout.isatty() else f"⟦{text}⟧"


def _tell_rows(examples: Examples, recipe: Recipe) -> None:
    tokens = sum(examples.lengths)
    click.echo(f"{len(examples)} examples, {tokens:,} tokens, {examples.trained_tokens:,} of them trained")
    if examples.truncated:
        click.echo(f"max_length {recipe.max_length} cuts rows {first_few(tuple(examples.truncated))}")
    if examples.dropped:
        dropped = first_few(tuple(examples.dropped))
        click.secho(f"max_length {recipe.max_length} leaves nothing to train in rows {dropped}: dropped", fg="yellow")
