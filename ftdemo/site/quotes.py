"""Code of the package on pages, quoted by name."""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path

from ftdemo.errors import DataError

QUOTED = re.compile(r'--8<-- "code/([\w.]+)\.md"')
"""Where a page includes code by name."""


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
