"""Code on pages: quoted from the package by name, or written on the page and run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ftdemo.errors import DataError
from ftdemo.site.glossary import body

QUOTED = re.compile(r'--8<-- "code/([\w.]+)\.md"')
"""Where a page includes code by name."""
_BLOCK = re.compile(
    r"^(?P<indent> *)```python[^\n]*\n(?P<code>.*?)^(?P=indent)```[ ]*\n"
    r"(?:\s*^(?P=indent)```text[^\n]*\n(?P<printed>.*?)^(?P=indent)```[ ]*$)?",
    re.DOTALL | re.MULTILINE,
)
_NOT_RUN = re.compile(r"<!-- not run: (?P<reason>[^>]*\S) -->\s*\Z")
_SECONDS = 120


@dataclass(frozen=True)
class PythonBlock:
    """A fenced Python block of a page."""

    code: str
    printed: str | None
    """What it should print, from the ``text`` block right after it."""
    line: int
    excuse: str
    """Why it is not run, from a comment ``<!-- not run: reason -->`` right before it."""


def code_block(package: Path, name: str) -> str:
    """A function or class of the package as a fenced block without its docstring, found by ``module.function``.

    Raises:
        DataError: If there is no such function.
    """
    module, _, function = name.rpartition(".")
    file = package / f"{module.replace('.', '/')}.py"
    source = file.read_text(encoding="utf-8") if module and file.is_file() else ""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == function:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            lines = source.splitlines()[first - 1 : node.end_lineno]
            if isinstance(node.body[0], ast.Expr) and ast.get_docstring(node):  # the page explains it
                start, end = node.body[0].lineno - first, (node.body[0].end_lineno or first) - first
                del lines[start : end + (1 if lines[end + 1].strip() else 2)]
            title = f"{package.name}/{module.replace('.', '/')}.py"
            return f'```python title="{title}"\n{textwrap.dedent(chr(10).join(lines))}\n```\n'
    raise DataError(f"No function {function} in {package.name}/{module}.py.", "Name it as `module.function`.")


def untested(package: Path, name: str, tests: Path) -> bool:
    """Whether no test imports the module that a quoted function is from."""
    module = f"{package.name}.{name.rpartition('.')[0]}"
    parent, _, leaf = module.rpartition(".")
    imports = re.compile(
        rf"^\s*(?:from {re.escape(module)} import|import {re.escape(module)}\b"
        rf"|from {re.escape(parent)} import [^\n]*\b{re.escape(leaf)}\b)",
        re.MULTILINE,
    )
    return not any(imports.search(path.read_text(encoding="utf-8")) for path in tests.rglob("test_*.py"))


def python_blocks(text: str) -> Iterator[PythonBlock]:
    """The fenced Python blocks of a page."""
    content, first_line = body(text)
    for match in _BLOCK.finditer(content):
        excuse = _NOT_RUN.search(content, 0, match.start())
        printed = match["printed"]
        yield PythonBlock(
            textwrap.dedent(match["code"]),
            textwrap.dedent(printed) if printed is not None else None,
            first_line + content.count("\n", 0, match.start()),
            excuse["reason"] if excuse else "",
        )


def run_block(block: PythonBlock, folder: Path) -> str | None:
    """What is wrong with a block when it is run in a process of its own; None if it does what the page has."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", block.code],
            cwd=folder,
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
    if block.printed is not None and done.stdout.strip() != block.printed.strip():
        return f"the code prints {done.stdout.strip()!r}, not what the page has. Copy what it prints."
    return None
