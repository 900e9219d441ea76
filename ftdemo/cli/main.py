"""`ftdemo`: the group of all commands. A command's module is imported when the command is needed, not before."""

from __future__ import annotations

from importlib import import_module

import click

from ftdemo import __version__
from ftdemo.cli.terminal import ReportingGroup

_MODULES = {
    "doctor": "doctor",
    "check-data": "data",
    "inspect": "data",
    "estimate": "estimate",
    "train": "train",
    "evaluate": "runs",
    "chat": "chat",
    "chart": "runs",
    "export": "export",
    "compare": "compare",
    "workflow": "workflow",
    "judge": "workflow",
    "demo": "site",
    "serve": "site",
    "notebook": "spaces",
    "spaces": "spaces",
    "record": "experiments",
    "site": "site",
    "new-term": "site",
}
"""The module of `ftdemo.cli` that holds each command, in the order in which a reader meets them."""


class _LazyGroup(ReportingGroup):
    def list_commands(self, _context: click.Context) -> list[str]:
        """The names of all commands, in the order of the help."""
        return list(_MODULES)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """The command of that name, imported now; None if there is none."""
        if name not in _MODULES:
            return None
        module = import_module(f"ftdemo.cli.{_MODULES[name]}")
        command: click.Command = getattr(module, f"{name.replace('-', '_')}_command")
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ftdemo")
def main() -> None:
    """Fine-tune a small model, see what changes, and chat with it."""
