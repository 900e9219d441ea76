"""What all commands share: how errors are reported, and how Ctrl-C ends a command."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ftdemo.errors import STOPPED_BY_CTRL_C, FtdemoError, UsageError
from ftdemo.training import distributed


class ReportingCommand(click.Command):
    """A command that reports an error which the user can fix in two lines, and ends with that error's exit code."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command; end with the error's exit code where there is an error."""
        try:
            return super().invoke(context)
        except FtdemoError as error:
            if distributed.is_main() or not isinstance(error, UsageError):  # a wrong request is wrong in every process
                click.echo(f"{click.style('Error:', fg='red', bold=True)} {error.what}\n{error.remedy}", err=True)
            else:
                distributed.wait_for_main_to_report()
            context.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
            context.exit(STOPPED_BY_CTRL_C)


class ReportingGroup(ReportingCommand, click.Group):
    """A group whose commands report their errors in two lines."""


class UserPath(click.Path):
    """A path. A leading ``~`` is the user's home, also in ``--out=~/run``, which a shell leaves as it is."""

    def __init__(self, *, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, dir_okay=dir_okay)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        """The path, with the user's home in it."""
        from ftdemo.data.files import with_home

        return super().convert(with_home(str(value)), parameter, context)


def name_or_path(text: str) -> str:
    """The type of a parameter that is a name or a path: a leading ``~`` is the user's home."""
    from ftdemo.data.files import with_home

    return with_home(text)


@contextmanager
def stop_on_ctrl_c() -> Iterator[threading.Event]:
    """Within this, Ctrl-C or SIGTERM sets the event; a second one interrupts at once."""
    stop = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    usual = [signal.getsignal(number) for number in signals]

    def handle(_signal: int, _frame: Any) -> None:
        if distributed.is_main():
            click.echo("\nStopping after the current step. Press Ctrl-C again to stop at once.", err=True)
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in zip(signals, usual, strict=True):
            signal.signal(number, handler)

    for number in signals:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        restore()


def first_few(numbers: tuple[int, ...]) -> str:
    """The first eight numbers, and how many more there are."""
    listed = ", ".join(map(str, numbers[:8]))
    return listed if len(numbers) <= 8 else f"{listed} and {len(numbers) - 8} more"
