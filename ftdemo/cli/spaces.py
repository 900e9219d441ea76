"""A demo elsewhere: `ftdemo spaces` and `ftdemo notebook`."""

from __future__ import annotations

from pathlib import Path

import click

from ftdemo.cli.terminal import UserPath
from ftdemo.errors import shell_line


@click.group("spaces")
def spaces_command() -> None:
    """Build Hugging Face Spaces from the demos."""


@spaces_command.command("build")
@click.argument("name")
@click.option("--out", type=UserPath(), required=True, help="New folder for the Space.")
def spaces_build_command(name: str, out: Path) -> None:
    """Write a demo as a Space; `studio` contains all of them."""
    from ftdemo.serving.spaces import write_space

    for path in write_space(name, out):
        click.echo(path)
    command = shell_line("hf", "upload", f"OWNER/{name}", str(out), ".", "--repo-type", "space")
    click.echo(f"Upload it: {command}")


@click.command("notebook")
@click.argument("name")
@click.option("--out", type=UserPath(), help="File to write. Default: NAME.ipynb.")
def notebook_command(name: str, out: Path | None) -> None:
    """Write the steps of a demo as a Jupyter notebook."""
    from ftdemo.runs.notebook import write_notebook

    click.echo(f"Written: {write_notebook(name, out or Path(f'{name}.ipynb'))}")
