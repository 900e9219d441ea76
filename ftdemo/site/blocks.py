"""Code blocks of pages, written there or included from a file: each has to parse, and Python has to run."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from typing import Any

import yaml
from markdown import Markdown
from pymdownx.snippets import SnippetMissingError

from ftdemo.errors import DataError
from ftdemo.site.glossary import body
from ftdemo.site.project import Project

FENCED = re.compile(
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<head>[^\n]*)\n(?P<code>.*?)^(?P=indent)(?P=ticks)[ ]*$",
    re.DOTALL | re.MULTILINE,
)
"""A block of code on a page."""
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^>]*\S) -->\s*\Z")
_SECONDS = 600
"""Code that trains takes seconds, on a busy machine minutes; by then it hangs."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, as it is written there."""

    language: str
    code: str
    """Without its indentation; files that it includes are still names."""
    printed: str | None
    """What it should print, from the ``text`` block right after it."""
    line: int
    excuse: str
    """Why it is not run, from a comment ``<!-- not run: reason -->`` right before it."""


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page."""
    content, first_line = body(text)
    found = list(FENCED.finditer(content))
    for match, after in zip_longest(found, found[1:]):
        excuse = _NOT_RUN.search(content, 0, match.start())
        follows = after and not content[match.end() : after.start()].strip()
        yield Block(
            _language(match),
            textwrap.dedent(match["code"]),
            textwrap.dedent(after["code"]) if after and follows and _language(after) == "text" else None,
            first_line + content.count("\n", 0, match.start()),
            excuse["reason"] if excuse else "",
        )


def _language(fence: re.Match[str]) -> str:
    return (fence["head"].split() or [""])[0]


def include(text: str, project: Project) -> str:
    """A text with the files that it includes, found as the site finds them.

    Raises:
        DataError: If there is no such file.
    """
    try:
        return "\n".join(_snippets(tuple(str(folder) for folder in project.snippets)).run(text.split("\n")))
    except SnippetMissingError as error:
        folders = ", ".join(folder.relative_to(project.root).as_posix() for folder in project.snippets)
        raise DataError(f"{error}.", f"Name a file that is in one of the folders {folders}.") from None


def with_code(text: str, project: Project) -> str:
    """A page's text with the files that its blocks include, and no others.

    Raises:
        DataError: If there is no such file.
    """

    def _filled(fence: re.Match[str]) -> str:
        code = include(textwrap.dedent(fence["code"]), project).rstrip()  # an included file ends in an empty line
        whole = f"{fence['ticks']}{fence['head']}\n{code}\n{fence['ticks']}"
        return textwrap.indent(whole, fence["indent"])

    return FENCED.sub(_filled, text)


@cache
def _snippets(folders: tuple[str, ...]) -> Any:
    """What includes files on the site."""
    settings = {"pymdownx.snippets": {"base_path": folders, "check_paths": True}}
    return Markdown(extensions=["pymdownx.snippets"], extension_configs=settings).preprocessors["snippet"]


def block_problem(block: Block, project: Project) -> str:
    """What is wrong with a block; empty if it parses and, in Python, does what the page has."""
    try:
        code = include(block.code, project)
        printed = None if block.printed is None else include(block.printed, project)
        _PARSERS.get(block.language, str)(code)
    except DataError as error:
        return f"{error.what} {error.remedy}"
    except (SyntaxError, ValueError, yaml.YAMLError) as error:
        return f"the {block.language} cannot be read: {' '.join(str(error).split())}. Fix it."
    return run_python(code, printed, project) if block.language == "python" and not block.excuse else ""


def _parse_json(code: str) -> None:
    """Read one value, or a value on each line.

    Raises:
        ValueError: If it is neither.
    """
    try:
        json.loads(code)
    except ValueError:
        for line in code.splitlines():
            json.loads(line)


_PARSERS: dict[str, Callable[[str], object]] = {
    "python": ast.parse,
    "json": _parse_json,
    "yaml": lambda code: list(yaml.parse(code)),  # its form alone: tags may name what is installed elsewhere
}
"""What reads blocks in a language, and raises an error if it cannot."""


def run_python(code: str, printed: str | None, project: Project) -> str:
    """Run code in a process of its own, offline, in the project's folder.

    Args:
        code: Python.
        printed: What it should print; None: anything.
        project: The glossary's folder.

    Returns:
        What is wrong; empty if it does what it should.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=project.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"the code does not end within {_SECONDS} s. Shorten it, or write `<!-- not run: reason -->` before it."
    if done.returncode:
        error = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return f"the code fails: {error}. Fix it, or write `<!-- not run: reason -->` before it."
    if printed is not None and done.stdout.strip() != printed.strip():
        return f"the code prints {done.stdout.strip()!r}, not what the page has. Copy what it prints."
    return ""
