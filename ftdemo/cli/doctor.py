"""`ftdemo doctor`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor_command(as_json: bool) -> None:
    """Show the device, number format and models of this machine."""
    from ftdemo.models import load as models
    from ftdemo.runs.run import versions
    from ftdemo.training import hardware

    device = hardware.pick_device("auto")
    number_format = hardware.pick_dtype("auto", device)
    report = {
        "hardware": hardware.describe(device)
        | {"number_format": number_format.name, "because": number_format.reason}
        | {"race_gflops": asdict(hardware.dtype_race(str(device)))},
        "models": models.available(),
        "cache": str(models.cache_folder()),
        "versions": versions(),
    }
    click.echo(json.dumps(report, indent=2) if as_json else _as_text(report))


def _as_text(report: dict[str, Any], indent: str = "") -> str:
    lines = []
    for key, value in report.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", _as_text(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {round(value, 1) if isinstance(value, float) else value}")
    return "\n".join(lines)
