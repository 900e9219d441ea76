"""`ftdemo chat`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import zip_longest

import click

from ftdemo.cli.terminal import name_or_path, plain_console
from ftdemo.errors import UsageError


@click.command("chat")
@click.argument("what", metavar="RUN|MODEL", type=name_or_path)
@click.option("--base", metavar="MODEL", type=name_or_path, help="Base model of the adapter: a folder or a Hub id.")
@click.option(
    "--against",
    metavar="base|RUN|MODEL",
    type=name_or_path,
    help="Second model, whose answers appear side by side.",
)
def chat_command(what: str, base: str | None, against: str | None) -> None:
    """Chat with the model of a run, or with any other model.

    Name tiny, nano or smollm2, or the folder of a run, of a transformers model or of a PEFT adapter. The model does not
    remember earlier messages. An empty line or Ctrl-D ends the chat. `--against base` also shows the answers of the
    model before training.
    """
    from ftdemo.runs.chat_model import is_adapter, open_base_model, open_chat_model

    if base and against != "base" and not any(is_adapter(name) for name in (what, against) if name):
        raise UsageError(f"--base has no effect: {what} is not an adapter.", "Leave it out.")
    models = {what: open_chat_model(what, base)}
    if against:
        other = open_base_model(what, base) if against == "base" else open_chat_model(against, base)
        models = {against: other} | models
    while True:
        try:
            message = _read_line("you> ")
            if not message:
                return
            _print_replies({name: model.reply(message) for name, model in models.items()})
        except UsageError as error:
            if not sys.stdin.isatty():
                raise
            click.echo(f"{error.what} {error.remedy}\n", err=True)


def _print_replies(replies: dict[str, Iterator[str]]) -> None:
    if len(replies) > 1:
        return _print_side_by_side(replies)
    for piece in next(iter(replies.values())):
        click.echo(piece, nl=False)
    click.echo("\n")


def _print_side_by_side(replies: dict[str, Iterator[str]]) -> None:
    """Print replies in columns as they grow; once, where the output is no terminal."""
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    texts = dict.fromkeys(replies, "")

    def table() -> Table:
        """The replies so far, a column for each model."""
        columns = Table(*texts, expand=True, box=None, pad_edge=False)
        for column in columns.columns:
            column.ratio = 1
        columns.add_row(*map(Text, texts.values()))
        return columns

    console = plain_console()
    with Live(table(), console=console, auto_refresh=False) as live:
        for pieces in zip_longest(*replies.values(), fillvalue=""):
            texts = {name: texts[name] + piece for name, piece in zip(texts, pieces, strict=True)}
            if console.is_terminal:
                live.update(table(), refresh=True)
        live.update(table(), refresh=True)
    console.print()


def _read_line(prompt: str) -> str:
    """One line from the user; empty at the end of the input.

    Raises:
        UsageError: If it is not text in UTF-8.
    """
    from ftdemo.data.blank import is_blank

    try:
        if sys.stdin.isatty():
            line = input(prompt)
            line.encode()  # where the locale is another, Python keeps foreign bytes as half surrogate pairs
        else:
            line = sys.stdin.buffer.readline().decode("utf-8-sig")
    except EOFError:
        return ""
    except UnicodeError:
        what = "A line of the input is not text in UTF-8."
        raise UsageError(what, "Save the input as UTF-8, or set the terminal to UTF-8.") from None
    return "" if is_blank(line) else line.strip()
