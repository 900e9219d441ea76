"""The layout: who imports whom, what is at the top, that a public name means one thing, and tests of pages' code."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "ftdemo"
TOP_DOWN = [
    *("cli", "serving", "site", "ui", "experiments", "estimate", "comparison", "runs", "evaluation", "training"),
    *("recipe", "methods", "models", "data", "charts", "events", "errors"),
]
"""A package imports only from those that come after it."""
LONGEST_FUNCTION = 60
"""Lines that a function may have."""
FACE = "ftdemo"
"""Has the version, which every package may use."""


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(module: str) -> set[str]:
    """The modules of the package that a module imports anywhere: at its top, for types alone, or in a function."""
    found: set[str] = set()
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports by a relative path"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= whole & set(MODULES) | ({str(node.module)} if whole - set(MODULES) else set())
    return {name for name in found if name in MODULES and name != module}


IMPORTS = {module: imports_of(module) for module in MODULES}


def package_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def test_no_module_imports_itself_by_a_detour() -> None:
    try:
        TopologicalSorter({module: found - {FACE} for module, found in IMPORTS.items()}).prepare()
    except CycleError as error:
        raise AssertionError(" <- ".join(error.args[1])) from None


def test_no_import_runs_upward() -> None:
    packages = {package_of(module) for module in MODULES} - {FACE, "__main__"}
    assert packages == set(TOP_DOWN)
    upward = {
        (module, imported)
        for module in set(MODULES) - {FACE, "ftdemo.__main__"}
        for imported in IMPORTS[module] - {FACE}
        if TOP_DOWN.index(package_of(imported)) < TOP_DOWN.index(package_of(module))
    }
    assert upward == set()


def test_six_files_are_at_the_top() -> None:
    names = {path.name for path in PACKAGE.glob("*.py")}
    assert names == {"__init__.py", "__main__.py", "charts.py", "errors.py", "events.py", "recipe.py"}


def public_names(module: str) -> Iterator[str]:
    for node in MODULES[module].body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name


def test_no_two_modules_export_one_name_for_different_things() -> None:
    homes = defaultdict(list)
    for module in MODULES:
        if not re.match(r"ftdemo\.data\.sets\.", module):
            for name in public_names(module):
                homes[name].append(module)
    shared = {name: modules for name, modules in homes.items() if len(modules) > 1}
    assert shared == {}


def definitions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Every function, method and class of a module, those within others too."""
    for each in ast.walk(node):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield each


def test_everything_with_a_public_name_has_a_docstring() -> None:
    without = [
        f"{module}.{each.name}"
        for module, tree in MODULES.items()
        for each in definitions(tree)
        if not each.name.startswith("_") and not ast.get_docstring(each)
    ]
    assert without == []


def test_no_function_is_longer_than_sixty_lines() -> None:
    longer = {
        f"{module}.{each.name}": lines
        for module, tree in MODULES.items()
        for each in definitions(tree)
        if not isinstance(each, ast.ClassDef) and (lines := (each.end_lineno or 0) - each.lineno + 1) > LONGEST_FUNCTION
    }
    assert longer == {}


def test_a_test_of_code_on_pages_is_about_all_pages_or_the_one_that_it_is_named_after() -> None:
    tests = {path.stem.removeprefix("test_") for path in (PACKAGE.parent / "tests" / "docs_src").glob("test_*.py")}
    topics = {folder.name.replace("-", "_") for folder in (PACKAGE.parent / "docs_src").iterdir()}
    assert tests - topics == {"blocks"}
