"""A demo elsewhere: `ftdemo spaces` and `ftdemo notebook`."""

from __future__ import annotations

from pathlib import Path

import click


@click.group("spaces")
def spaces_command() -> None:
    """Make a Hugging Face Space of a demo."""


@spaces_command.command("build")
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write: it will be the Space.")
def spaces_build_command(name: str, out: Path) -> None:
    """Write a demo, or studio, as a folder that is a Space."""
    from ftdemo.serving.spaces import build

    for path in build(name, out):
        click.echo(path)
    click.echo(f"Upload it: hf upload OWNER/{name} {out} . --repo-type space")


@click.command("notebook")
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write. Default: NAME.ipynb.")
def notebook_command(name: str, out: Path | None) -> None:
    """Write a notebook that does step by step what a demo does, for a hosted service or this machine."""
    from ftdemo.runs.notebook import write_notebook

    click.echo(f"Written: {write_notebook(name, out or Path(f'{name}.ipynb'))}")
