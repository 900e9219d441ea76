"""`ftdemo estimate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ftdemo.cli.recipe_options import RecipeCommand
from ftdemo.cli.terminal import name_or_path, plain_console, print_json
from ftdemo.errors import UsageError

if TYPE_CHECKING:
    from ftdemo.estimate.forecast import Forecast


@click.command("estimate", cls=RecipeCommand)
@click.argument("what", metavar="NAME|RECIPE.yaml", type=name_or_path, required=False)
@click.option(
    "--gpu", "devices", multiple=True, metavar="NAME", help="Accelerator to estimate for, such as H100. Repeatable."
)
@click.option(
    "--utilization",
    default=0.3,
    show_default=True,
    type=click.FloatRange(0.01, 1),
    help="Share of its peak speed that an accelerator reaches.",
)
@click.option("--price", type=click.FloatRange(0), help="Provider's price per million training tokens.")
@click.option("--time/--no-time", "timed", default=True, help="Time a few training steps on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def estimate_command(
    what: str | None,
    devices: tuple[str, ...],
    utilization: float,
    price: float | None,
    timed: bool,
    as_json: bool,
    changes: dict[str, Any],
) -> None:
    """Estimate memory, time and cost before training.

    ftdemo computes parameters and memory from the model's configuration, so it does not need the weights. If the
    weights are on this machine, it times a few training steps. For accelerators, it estimates the time from the maker's
    data sheet and `--utilization`.
    """
    from ftdemo.estimate.forecast import forecast
    from ftdemo.recipe import recipe_of

    if what and "method" in changes:
        raise UsageError(f"{what} and --method both name the method.", "Use only one of them.")
    context = click.get_current_context()
    if not devices and context.get_parameter_source("utilization") is click.core.ParameterSource.COMMANDLINE:
        raise UsageError("--utilization has no effect without an accelerator.", "Name one with `--gpu`.")
    recipe = recipe_of(what or str(changes.pop("method", "lora")), changes)
    found = forecast(recipe, devices=devices, utilization=utilization, per_million=price, timed=timed)
    print_json(found.as_dict(), indent=2) if as_json else _print_forecast(found, utilization)


def _print_forecast(found: Forecast, utilization: float) -> None:
    from rich.table import Table

    from ftdemo.ui import page_at

    console = plain_console()
    counts, machine = found.counts, found.this_machine
    share = f"{counts.trainable:,} of {counts.total:,} parameters are trained ({counts.share:.2%})"
    console.print(f"{found.model} by {found.method}: {share}")
    guessed = ", estimated from their characters" if found.tokens_estimated else ""
    examples = f"{found.rows:,} examples of {found.row_tokens:.0f} tokens{guessed}"
    console.print(
        f"{examples}: {found.tokens:,.0f} tokens in {found.steps:,} steps, {found.operations:.2g} operations\n"
    )
    table = Table("memory on this machine", "GB", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for name in ("weights", "gradients", "optimizer", "activations", "logits", "workspace"):
        table.add_row(name, f"{getattr(machine.memory, name) / 1e9:.2f}")
    table.add_row("libraries", f"{machine.libraries_bytes / 1e9:.2f}")
    table.add_row("peak", f"{machine.memory_bytes / 1e9:.2f} of {machine.available_bytes / 1e9:.0f}")
    console.print(table)
    devices = Table("\ndevice", "\ntime", "memory\nGB", "", box=None, pad_edge=False)
    timed = _duration(machine.seconds) if machine.seconds is not None else f"not timed: {machine.untimed_reason}"
    devices.add_row(f"this machine, {machine.dtype}", timed, f"{machine.memory_bytes / 1e9:.1f}", "")
    for each in found.accelerators:
        fits = "fits" if each.fits else f"does not fit into {each.available_bytes / 1e9:.0f} GB"
        devices.add_row(each.device, _duration(each.seconds), f"{each.memory_bytes / 1e9:.1f}", fits)
    console.print(devices)
    if found.accelerators:
        assumed = f"Accelerators: training steps only, in bfloat16, at an assumed {utilization:.0%} of peak speed."
        console.print(f"{assumed} Change the batch with --batch-tokens.")
    if found.price is not None:
        console.print(f"A provider would charge {found.price:,.2f}.")
    console.print(f"How memory is used: {page_at('terms/gpu-memory/')}")


def _duration(seconds: float) -> str:
    """A duration in the largest unit of which it has two or more."""
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
