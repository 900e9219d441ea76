"""`ftdemo chat`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click

from ftdemo.errors import UsageError


@click.command("chat")
@click.argument("what", metavar="RUN|MODEL")
@click.option("--base", metavar="MODEL", help="Take the adapter's base model from here: a folder or a Hub id.")
@click.option("--against", metavar="base|RUN|MODEL", help="Ask this one the same, and show both answers side by side.")
def chat_command(what: str, base: str | None, against: str | None) -> None:
    """Talk to the model that a run has trained, or to a model as it is: tiny, nano, smollm2, or a folder.

    A folder may hold a run, a model of transformers, or an adapter of PEFT.

    Each line that you type is answered on its own. An empty line or Ctrl-D ends the talk. With `--against base` the
    model that the run began with answers beside it.
    """
    voices = {what: _voice(what, base)}
    if against:
        other = _as_it_is(base or _began_with(what)) if against == "base" else _voice(against, base)
        voices = {against: other} | voices
    for said in iter(lambda: _read_line("you> "), ""):
        replies = {name: speak(said) for name, speak in voices.items()}
        if len(replies) > 1:
            _side_by_side(replies)
            continue
        for piece in replies[what]:
            click.echo(piece, nl=False)
        click.echo("\n")


_Voice = Callable[[str], "Iterator[str]"]
"""What answers a line, piece by piece."""


def _voice(what: str, base: str | None) -> _Voice:
    """A run's model, a model as it is, or an adapter on the base that it names."""
    from ftdemo.evaluation.generate import REPLY_TOKENS
    from ftdemo.runs.adapters import load_adapter
    from ftdemo.runs.run import Run

    folder = Path(what)
    if _is_adapter(folder):
        return _speaks(*load_adapter(folder, base), REPLY_TOKENS)
    if _is_model(what) or _is_from_elsewhere(folder, "config.json"):
        return _as_it_is(what)
    run = Run.load(folder)
    if run.labels:
        raise UsageError(f"{what} holds a classifier, which does not talk.", f"Judge it: `ftdemo evaluate {what}`.")
    return _speaks(*run.load_model(base), run.reply_tokens)


def _as_it_is(model: str) -> _Voice:
    from ftdemo.evaluation.generate import REPLY_TOKENS
    from ftdemo.models.load import load_ready

    return _speaks(*load_ready(model), REPLY_TOKENS)


def _speaks(model: Any, tokenizer: Any, longest: int) -> _Voice:
    from ftdemo.data import Turn
    from ftdemo.evaluation.generate import stream_reply

    # Each letter stands alone: the built-in data has one turn a side.
    return lambda said: stream_reply(model, tokenizer, [Turn("user", said)], max_new_tokens=longest)


def _is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter that no run of ours has written."""
    from ftdemo.runs.adapters import ADAPTER_CONFIG

    return _is_from_elsewhere(folder, ADAPTER_CONFIG)


def _is_from_elsewhere(folder: Path, file: str) -> bool:
    """Whether a folder holds such a file, and no run of ours."""
    from ftdemo.runs.run import RECORD

    return (folder / file).exists() and not (folder / RECORD).exists()


def _is_model(what: str) -> bool:
    from ftdemo.recipe import BUNDLED_MODELS

    return what in (*BUNDLED_MODELS, "smollm2")


def _began_with(what: str) -> str:
    """The model that a run or an adapter began with."""
    from ftdemo.runs.adapters import base_of
    from ftdemo.runs.run import Run

    if _is_model(what):
        raise UsageError(f"{what} is no run: it began with nothing.", "Name a run's folder, or another model after it.")
    if _is_adapter(Path(what)):
        return base_of(Path(what))
    recipe = Run.load(Path(what)).recipe
    if recipe.method == "scratch":
        raise UsageError(f"{what} began with random weights, which have nothing to say.", "Leave out `--against`.")
    return recipe.model


def _side_by_side(replies: dict[str, Iterator[str]]) -> None:
    """Answers in columns, as they come; where nobody looks on, one below the other."""
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    texts = dict.fromkeys(replies, "")

    def table() -> Table:
        shown = Table(*texts, expand=True, box=None, pad_edge=False)
        for column in shown.columns:
            column.ratio = 1
        shown.add_row(*map(Text, texts.values()))
        return shown

    console = Console()
    with Live(table(), console=console, auto_refresh=False) as live:
        for pieces in zip_longest(*replies.values(), fillvalue=""):
            texts = {name: texts[name] + piece for name, piece in zip(texts, pieces, strict=True)}
            if console.is_terminal:
                live.update(table(), refresh=True)
        live.update(table(), refresh=True)
    console.print()


def _read_line(prompt: str) -> str:
    """One line from the user; empty at the end of the input."""
    try:
        return input(prompt if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""
