"""What tests of the pages' code share: the files in docs_src, and their shell commands run and compared here."""

from __future__ import annotations

import re
import shlex
from math import isclose
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from ftdemo.cli.main import main

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "docs_src"
_DECIMAL = re.compile(r"\d+\.\d+")


def source(name: str) -> str:
    """The text of a file in docs_src."""
    return (SOURCES / name).read_text(encoding="utf-8")


def commands(name: str) -> list[list[str]]:
    """The words of each command in a shell file, without comments and without the file that takes the output."""
    lines = source(name).replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines]
    return [words[: words.index(">")] if ">" in words else words for words in found if words]


def understood(arguments: list[str]) -> dict[str, Any]:
    """The parameters of an `ftdemo` command, read as on the command line, which refuses what it does not know."""
    command: click.Command = main
    context = click.Context(main, info_name="ftdemo")
    name, rest = "ftdemo", arguments
    while isinstance(command, click.Group):
        name, *rest = rest
        below = command.get_command(context, name)
        assert below is not None, f"there is no command {name}"
        command, context = below, click.Context(below, parent=context, info_name=name)
    return command.make_context(name, rest, parent=context.parent).params


def ftdemo(words: list[str], typed: str = "", fails: int = 0) -> str:
    """What `ftdemo …` prints when its output is no terminal.

    Args:
        words: The command, with its first word.
        typed: What is written to it.
        fails: The status with which it ends.
    """
    assert words[0] == "ftdemo"
    done = CliRunner().invoke(main, words[1:], input=typed)
    assert done.exit_code == fails, done.output
    return done.stdout


def lacking(shown: str, printed: str) -> list[str]:
    """Lines of a shown output that were not printed, although figures may differ a little, as between processors.

    A line of dots stands for others that are left out.
    """
    lines = [_form(line) for line in printed.splitlines()]
    return [line for line in shown.splitlines() if line.strip() not in ("", "…") and not _is_among(_form(line), lines)]


def _form(line: str) -> tuple[str, list[float]]:
    return _DECIMAL.sub("#", " ".join(line.split())), [float(number) for number in _DECIMAL.findall(line)]


def _is_among(line: tuple[str, list[float]], lines: list[tuple[str, list[float]]]) -> bool:
    form, numbers = line
    return any(
        form == other and all(isclose(a, b, rel_tol=0.1, abs_tol=0.15) for a, b in zip(numbers, figures, strict=True))
        for other, figures in lines
    )
