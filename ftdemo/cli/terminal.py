"""What all commands share: how it prints errors, what ends a command early, and how it prints."""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

import click

from ftdemo.errors import STOPPED_BY_CTRL_C, FtdemoError, UsageError
from ftdemo.training import distributed

if TYPE_CHECKING:
    from rich.console import Console

Item = TypeVar("Item")


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

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command that is named. A character that the output's encoding lacks is escaped, and is no error."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        return super().main(*args, **extra)


class Stop(threading.Event):
    """Set it to end a command after its current step."""

    def __init__(self) -> None:
        super().__init__()
        self.output_is_closed = False
        """Whether nobody reads what the command prints any more."""


class UserPath(click.Path):
    """A path. A leading ``~`` is the user's home, also in ``--out=~/run``, which a shell leaves as it is."""

    def __init__(self, *, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, dir_okay=dir_okay)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        """The path, with the user's home in it."""
        from ftdemo.data.files import with_home

        return super().convert(with_home(str(value)), parameter, context)


def name_or_path(text: str) -> str:
    """The type of a parameter that is a name or a path: a leading ``~`` is the user's home.

    Raises:
        UsageError: If it is neither: a text that was pasted, for example.
    """
    from ftdemo.data.files import with_home

    path = with_home(text)
    try:
        Path(path).exists()
    except (OSError, ValueError) as error:  # it is too long, for example
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{text[:40]}… is neither a name nor a path: {reason}.", "Check the argument.") from None
    return path


@contextmanager
def stop_on_ctrl_c() -> Iterator[Stop]:
    """Within this, Ctrl-C, SIGTERM or a closed terminal sets the event; a second Ctrl-C interrupts at once.

    Output that nobody reads any more is dropped, and does not end the command: see `events_until_stopped`.
    """
    stop = Stop()
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hangup = getattr(signal, "SIGHUP", None)  # a terminal that closes sends it, often more than once
    if hangup and signal.getsignal(hangup) is not signal.SIG_IGN:  # `nohup` ignores it
        usual[hangup] = signal.getsignal(hangup)

    def handle(number: int, _frame: Any) -> None:
        """Set the event; from now on, Ctrl-C and SIGTERM have their usual effect."""
        stop.set()
        if number == hangup:
            return
        if distributed.is_main():
            click.echo("\nStopping after the current step. Press Ctrl-C again to stop at once.", err=True)
        restore(signal.SIGINT, signal.SIGTERM)

    def restore(*numbers: signal.Signals) -> None:
        """Give signals their usual effect back."""
        for number in numbers:
            signal.signal(number, usual[number])

    for number in usual:
        signal.signal(number, handle)
    try:
        with _dropping_unread_output(stop):
            yield stop
    finally:
        restore(*usual)


@contextmanager
def hangup_as_ctrl_c() -> Iterator[None]:
    """Within this, SIGTERM or a closed terminal ends a command as Ctrl-C does: what was trained is kept."""
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    usual = {number: signal.getsignal(number) for number in (getattr(signal, name) for name in names)}

    def interrupt(_number: int, _frame: Any) -> None:
        """End the command as Ctrl-C does."""
        for number in usual:  # the next one would interrupt what is being kept
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number, handler in usual.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


def events_until_stopped(events: Iterator[Item], stop: Stop) -> Generator[Item]:
    """The events. If nobody reads the output any more, the next training step is the last one: then a run is kept."""
    from ftdemo.events import Step

    with closing(events) as source:  # type: ignore[type-var]
        for event in source:
            if stop.output_is_closed and isinstance(event, Step):
                stop.set()
            yield event


@contextmanager
def _dropping_unread_output(stop: Stop) -> Iterator[None]:
    usual = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, _Tolerant(stream, stop)) if stream else stream for stream in usual)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = usual


class _Tolerant:
    """A standard stream that drops what is written once its pipe, terminal or disk takes no more."""

    def __init__(self, stream: TextIO, stop: Stop) -> None:
        self._stream, self._stop = stream, stop

    def write(self, text: str) -> int:
        """Write a text if anybody reads it; the number of its characters either way."""
        with self._dropping():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream if anybody reads it."""
        with self._dropping():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _dropping(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            self._stop.output_is_closed = True
            # What is left in the buffer would fail again when Python ends.
            with suppress(OSError), Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


def plain_console(*, stderr: bool = False) -> Console:
    """A console that prints texts as they are: a path with brackets or colons is no markup and no emoji."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def print_json(value: Any, indent: int | None = None) -> None:
    """Print a value as JSON. Where the output is not in UTF-8, other characters than ASCII's are escaped."""
    is_utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    click.echo(json.dumps(value, indent=indent, ensure_ascii=not is_utf8, default=str))


def printable(text: str, otherwise: str) -> str:
    """The text, or another one where the output's encoding lacks its characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return otherwise
    return text


def new_folder(kind: str) -> Path:
    """The default folder of a run. Its name is new, also for two runs that are started in the same second."""
    return Path("runs") / f"{kind}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def first_few(numbers: tuple[int, ...]) -> str:
    """The first eight numbers, and how many more there are."""
    listed = ", ".join(map(str, numbers[:8]))
    return listed if len(numbers) <= 8 else f"{listed} and {len(numbers) - 8} more"
