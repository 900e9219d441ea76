"""The notebooks are what the package writes, and each runs from its first cell to its last."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbclient import NotebookClient

from ftdemo.errors import StorageError, UsageError
from ftdemo.recipe import Recipe
from ftdemo.runs import notebook
from ftdemo.runs.notebook import write_notebook
from ftdemo.serving.server import STUDIO, demo_names

SHIPPED = Path(__file__).parents[2] / "docs" / "notebooks"
NAMES = [name for name in demo_names() if name != STUDIO]


@pytest.mark.parametrize("name", NAMES)
def test_the_notebook_that_a_page_offers_is_the_one_that_is_written_now(name: str, tmp_path: Path) -> None:
    fresh = write_notebook(name, tmp_path / f"{name}.ipynb").read_text(encoding="utf-8")
    told = f"Run `ftdemo notebook {name} --out docs/notebooks/{name}.ipynb`."
    assert (SHIPPED / f"{name}.ipynb").read_text(encoding="utf-8") == fresh, told


@pytest.mark.parametrize(
    "name", [name if name == "lora" else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_a_notebook_runs_to_its_end(name: str) -> None:
    shipped = nbformat.read(SHIPPED / f"{name}.ipynb", as_version=4)
    nbformat.validate(shipped)
    for cell in shipped.cells:  # the same cells, on fewer rows
        if "recipe = Recipe(" in cell.source:
            less = '"max_steps": 6, "sample_prompts": 6, "answer_tokens": 24'
            cell.source = cell.source.replace("recipe.to_yaml()", "recipe.method").replace(
                "print(", f"recipe = recipe.with_settings({{{less}}})\nprint("
            )
    NotebookClient(shipped, timeout=900, kernel_name="python3").execute()
    said = "".join(str(output.get("text", "")) for cell in shipped.cells for output in cell.get("outputs", ()))
    assert "completed" in said
    assert "before" in said


def test_a_notebook_of_a_run_that_held_nothing_out_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    cells = nbformat.reads(notebook.of_recipe(Recipe(data="few.jsonl"), "lora"), as_version=4).cells
    (compare,) = (cell.source for cell in cells if "run.samples()" in cell.source)
    exec(compare, {"run": SimpleNamespace(samples=lambda: (None, None))})
    assert "too few examples to hold any out" in capsys.readouterr().out


def test_a_folder_is_not_replaced_by_a_notebook(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(StorageError, match="cannot be written: it is a folder"):
        write_notebook("lora", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_unknown_demo_has_no_notebook(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"The demos with a notebook are: .*lora"):
        write_notebook("rola", tmp_path / "rola.ipynb")
