"""The recipes in ftdemo/recipes are the only place that says how a demo, its notebook and the shell train."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from ftdemo.recipe import NAMED, Recipe
from ftdemo.serving.server import STUDIO, demo_names, load_demo

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "ftdemo" / "recipes").glob("*.yaml"))
DEMOS = [name for name in demo_names() if name != STUDIO]


@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_every_key_of_a_recipe_has_a_comment(file: Path) -> None:
    for line in file.read_text(encoding="utf-8").splitlines():
        assert line.startswith(("#", "from: ", "method: ")) or re.fullmatch(r"\w+: \S+ +# \S.*", line), line


@pytest.mark.parametrize("name", DEMOS)
def test_a_demos_notebook_trains_by_its_recipe(name: str) -> None:
    notebook = nbformat.read(ROOT / "docs" / "notebooks" / f"{name}.ipynb", as_version=4)
    cell = next(cell.source for cell in notebook.cells if "recipe = Recipe(**{" in cell.source)
    settings = re.search(r"Recipe\(\*\*(\{.*?\n\})\)", cell, re.DOTALL)
    assert settings is not None
    assert Recipe(**ast.literal_eval(settings[1])) == NAMED[name]


def default_recipe(name: str) -> Recipe:
    """What a demo trains if a visitor presses Train and changes nothing."""
    app: Any = load_demo(name)
    match name:
        case "transfer-learning":
            recipe: Recipe = app.RECIPES["fine-tuned"]
            return recipe.with_settings({"examples": app._FIRST_COUNT})
        case "prompting-rag-fine-tuning":
            settings = app._settings(app.DEMO.default_examples("short-tickets"), None, "")
            return Recipe(**app.DEMO.recipe("short-tickets", settings).model_dump(exclude_unset=True))
        case "pre-training":
            settings = app._settings(app._USUAL_SIZE, app._USUAL.examples, None, "")
        case "lora":
            usual = app.DEMO.recipes["tiny"]
            settings = app._settings(
                usual.rank, f"{usual.peak_lr:g}", app.DEMO.default_examples("tiny"), False, None, ""
            )
        case "sft":
            settings = app._settings("completion", True, app.DEMO.default_examples("tiny"), None, "")
        case _:
            settings = app._settings(app.DEMO.default_examples("tiny"), None, "")
    demo_recipe: Recipe = app.DEMO.recipe(app.DEMO.first, settings)
    return demo_recipe


@pytest.mark.parametrize("name", DEMOS)
def test_a_demo_that_is_left_as_it_opens_trains_by_its_recipe(name: str) -> None:
    named, default = NAMED[name].model_dump(), default_recipe(name).model_dump()
    # A recipe without a limit reads all rows, which the demo's slider says as their number.
    differing = {key for key in named if named[key] != default[key]} - (
        {"examples"} if not named["examples"] else set()
    )
    assert not differing, {key: (named[key], default[key]) for key in differing}
