"""`python -m benchmarks WORK`: time a piece of work here and print the figures."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table

from benchmarks import WORKS, time_contenders
from ftdemo.cli.terminal import ReportingCommand
from ftdemo.errors import UsageError


@click.command(cls=ReportingCommand)
@click.argument("work", metavar="lora|full|pretrain|generate|growth|estimate")
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1, 100), help="Runs of each contender.")
@click.option("--only", multiple=True, metavar="CONTENDER", help="Run this contender alone. Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def main(work: str, runs: int, only: tuple[str, ...], as_json: bool) -> None:
    """Time a piece of work here, against others on the same batches. Medians of alternating runs.

    Pretrain stands for pretrain-1m and pretrain-3m, two sizes of the same work.
    """
    works = [name for name in WORKS if name == work or name.startswith(f"{work}-")]
    if not works:
        raise UsageError(f"There is no work called {work}.", f"Time one of: {', '.join(WORKS)}.")
    if unknown := set(only) - set(WORKS[works[0]].contenders):
        raise UsageError(
            f"No contender called {unknown.pop()}.", f"There are: {', '.join(WORKS[works[0]].contenders)}."
        )
    figures = {}
    for name in works:
        click.echo(f"{WORKS[name].summary}, {runs} runs each", err=True)
        figures[name] = time_contenders(name, runs, lambda text: click.echo(text, err=True), only)
        if not as_json:
            _print_figures(figures[name], WORKS[name].target_loss)
    if as_json:
        click.echo(json.dumps(figures, indent=2))


def _print_figures(figures: dict[str, dict[str, float]], target: float | None) -> None:
    columns = {
        "tokens_per_second": ("tokens/s", "{:.0f}", 1.0),
        "seconds": ("seconds", "{:.1f}", 1.0),
        "seconds_to_read": ("s to read", "{:.1f}", 1.0),
        "seconds_to_loss": (f"s to loss {target}", "{:.1f}", 1.0),
        "loss": ("mean loss", "{:.3f}", 1.0),
        "memory_bytes": ("MB above imports", "{:.0f}", 1e-6),
        "seconds_predicted": ("predicted", "{:.1f}", 1.0),
        "training_seconds": ("s of training", "{:.1f}", 1.0),
        "training_seconds_predicted": ("predicted", "{:.1f}", 1.0),
        "peak_bytes": ("MB in all", "{:.0f}", 1e-6),
        "peak_bytes_predicted": ("predicted", "{:.0f}", 1e-6),
        "share_of_matmul_rate": ("of matmul rate", "{:.0%}", 1.0),
    }
    shown = [key for key in columns if any(key in row for row in figures.values())]
    table = Table("", *(columns[key][0] for key in shown), box=None, pad_edge=False)
    for name, row in figures.items():
        cells = [columns[key][1].format(row[key] * columns[key][2]) if key in row else "-" for key in shown]
        table.add_row(name, *cells)
    Console().print(table)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
