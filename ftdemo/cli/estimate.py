"""`ftdemo estimate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ftdemo.errors import UsageError

if TYPE_CHECKING:
    from ftdemo.estimate.forecast import Forecast


@click.command("estimate")
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
def estimate_command(
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
