"""Data before training: `ftdemo check-data` and `ftdemo inspect`."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftdemo.cli.recipe_options import RecipeCommand, parse_value
from ftdemo.cli.terminal import UserPath, first_few, name_or_path, print_json, printable
from ftdemo.errors import UsageError
from ftdemo.ui import page_at

if TYPE_CHECKING:
    from ftdemo.data.check import Report
    from ftdemo.data.tokenize import Examples
    from ftdemo.recipe import Recipe


_BAR = 40
"""Characters in the longest bar of a histogram."""


@click.command("check-data")
@click.argument("file", type=UserPath())
@click.option(
    "--model",
    metavar="MODEL",
    type=name_or_path,
    default="tiny",
    show_default=True,
    help="Model whose tokens are counted: a name, folder or Hub id.",
)
@click.option(
    "--max-length", default=512, show_default=True, type=click.IntRange(2), help="Maximum tokens per example."
)
@click.option(
    "--against",
    type=UserPath(),
    metavar="FILE",
    help="Evaluation file to search for the same examples.",
)
@click.option(
    "--map", "mapped", metavar="KEY=COLUMN", multiple=True, help="Read a key from another column. Repeatable."
)
@click.option("--fix", type=UserPath(), metavar="OUT", help="Write a cleaned copy as JSON lines.")
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
    """Check a data file for problems before training.

    ftdemo detects the file's format. If its columns have other names, map them: `--map prompt=question --map
    completion=reply`. `--fix` writes a copy without duplicates and unusable examples, and lists those in a second file;
    the original stays unchanged. The exit code is 2 if examples are unusable and no copy is written.
    """
    from ftdemo.data.check import CHANGES, check_file
    from ftdemo.data.rows import KEYS
    from ftdemo.models.load import context_window, load_tokenizer, resolve
    from ftdemo.models.tokenizer import embedding_rows

    def count(examples: int) -> None:
        """Show how many examples have been read."""
        click.echo(f"\r{examples:,} examples …", nl=False, err=True)

    columns = {}
    for text in mapped:
        key, equals, column = text.partition("=")
        if not equals or not column or key not in KEYS:
            what = f"--map {text} is not of the form KEY=COLUMN."
            raise UsageError(what, f"The keys are: {', '.join(KEYS)}.")
        columns[column] = key
    source = resolve(model)
    window = context_window(source)
    if window and max_length > window:
        note = f"--max-length is {max_length:,}, but {model} reads at most {window:,} tokens. It is set to {window:,}."
        click.secho(f"Note: {note}", fg="yellow", err=True)
        max_length = window
    progress = count if sys.stderr.isatty() else None
    report = check_file(
        file,
        load_tokenizer(source),
        model=model,
        known_tokens=embedding_rows(source.path),
        max_length=max_length,
        against=against,
        columns=columns,
        fix=fix,
        progress=progress,
    )
    if progress:
        click.echo("\r", nl=False, err=True)
    print_json(report.as_dict(), indent=2) if as_json else _print_report(report)
    if fix:
        kept = report.rows - report.left_out
        click.echo(f"\n{fix}: {kept:,} kept, {report.left_out:,} left out. See {fix}{CHANGES}.", err=as_json)
    elif report.good < report.rows:
        sys.exit(UsageError.exit_code)


def _print_report(report: Report) -> None:
    usable = f", {report.good:,} of them usable" if report.good < report.rows else ""
    click.echo(f"{report.file}: {_counted(report.rows)}{usable}.")
    for keys, examples in report.shapes.items():
        click.echo(f"{_counted(examples)} with {keys}.")
    if report.good:
        bins, bar = report.histogram(), printable("▇", "#")
        most = max(examples for *_, examples in bins)
        click.echo(f"\n{report.tokens:,} tokens of {report.model}, median {report.median_length():,} per example:")
        for low, high, examples in bins:
            click.echo(f"{low:>9,} to {high:<9,} {bar * round(_BAR * examples / most)} {examples:,}")
    if report.labels:
        click.echo("\nLabels: " + ", ".join(f"{label} {count:,}" for label, count in islice(report.labels.items(), 20)))
    if report.other_keys:
        click.echo("\nUnused keys: " + ", ".join(f"{key} {n:,}" for key, n in report.other_keys.items()))
    for finding in report.findings:
        click.secho(f"\n{_counted(finding.count)}", bold=True, nl=False)
        click.echo(f", {finding.says}.")
        if finding.rows:
            more = f" and {finding.count - len(finding.rows):,} more" if finding.count > len(finding.rows) else ""
            click.echo(
                f"  {'line' if finding.count == 1 else 'lines'} {', '.join(f'{row:,}' for row in finding.rows)}{more}"
            )
        for example in finding.examples[:3]:
            click.echo(f"  {example}")
        click.echo(f"  {page_at(finding.page)}")
    if not report.findings:
        click.echo("\nNo problems found.")


def _counted(examples: int) -> str:
    return f"{examples:,} {'example' if examples == 1 else 'examples'}"


@click.command("inspect", cls=RecipeCommand)
@click.argument("what", metavar="NAME|RECIPE.yaml|DATA", type=name_or_path)
@click.option("--rows", default=3, show_default=True, type=click.IntRange(1), help="Number of examples to show.")
def inspect_command(what: str, rows: int, changes: dict[str, Any]) -> None:
    """Show which tokens of each example are trained.

    Trained tokens are in colour. Name a recipe, a recipe file, a data file or a built-in data set. If you name data,
    the recipe `lora` decides which tokens are trained.
    """
    from ftdemo.recipe import NAMED, recipe_of
    from ftdemo.training.inspection import inspect_recipe

    if what in NAMED or what.endswith((".yaml", ".yml")):
        recipe = recipe_of(what, changes)
    elif "data" in changes:
        raise UsageError(f"{what} and --data both name the data.", "Use only one of them.")
    else:
        recipe = recipe_of("lora", {"data": parse_value("data", what), **changes})
    inspected = inspect_recipe(recipe)
    recipe = inspected.recipe
    for note in inspected.notes:
        click.secho(f"Note: {note}", fg="yellow")
    for example in inspected.examples[:rows]:
        cut = f", cut at {recipe.max_length}" if example.truncated else ""
        click.secho(f"example {example.row}: {len(example)} tokens, {example.trained_tokens} trained{cut}", bold=True)
        for text, trained in inspected.spans(example):
            click.echo(_marked(text) if trained else click.style(text, dim=True), nl=False)
        click.echo("\n")
    _print_counts(inspected.examples, recipe)


def _marked(text: str) -> str:
    """Trained text: green on a terminal, between brackets elsewhere."""
    if sys.stdout.isatty():
        return click.style(text, fg="green", bold=True)
    brackets = printable("⟦⟧", "[]")
    return f"{brackets[0]}{text}{brackets[1]}"


def _print_counts(examples: Examples, recipe: Recipe) -> None:
    tokens = sum(examples.lengths)
    click.echo(f"{len(examples)} examples, {tokens:,} tokens, {examples.trained_tokens:,} of them trained")
    if examples.truncated:
        click.echo(f"cut to max_length {recipe.max_length}: examples {first_few(tuple(examples.truncated))}")
    if examples.dropped:
        dropped = first_few(tuple(examples.dropped))
        what = f"dropped, because max_length {recipe.max_length} leaves no token to train: examples {dropped}"
        click.secho(what, fg="yellow")
