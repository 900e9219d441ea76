"""Folders that are Spaces. That they install and train on a bare Python is tried by `make spaces`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import RepoCard

from ftdemo.errors import UsageError
from ftdemo.serving.server import demo_names
from ftdemo.serving.spaces import write_space


@pytest.mark.parametrize("name", demo_names())
def test_a_space_has_app_card_requirements_and_the_package(tmp_path: Path, name: str) -> None:
    out = tmp_path / "space"
    assert {path.name for path in write_space(name, out)} == {"README.md", "app.py", "ftdemo", "requirements.txt"}
    card = RepoCard.load(out / "README.md").data.to_dict()
    assert card["sdk"] == "gradio"
    assert card["app_file"] == "app.py"
    assert len(card["short_description"]) <= 60  # the Hub's limit
    needed = (out / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert all("==" in line for line in needed)
    assert f"gradio=={card['sdk_version']}" in needed
    assert not any(line.startswith(("pytest", "mkdocs", "ftdemo")) for line in needed)
    assert (out / "ftdemo" / "models" / "weights" / "tiny" / "model.safetensors").exists()
    assert not list(out.rglob("__pycache__"))


def test_the_studio_of_a_space_holds_every_demo(tmp_path: Path) -> None:
    out = tmp_path / "space"
    write_space("studio", out)
    code = "import app; print([path for path, *_ in app.build().pages])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(out)!r}); {code}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name in demo_names():
        assert name == "studio" or f"'{name}'" in done.stdout


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(UsageError, match="is there already"):
        write_space("lora", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(UsageError, match="No demo called rola"):
        write_space("rola", tmp_path / "space")


@pytest.mark.parametrize("name", demo_names())
def test_the_card_in_the_repository_names_the_version_of_gradio_that_is_used(name: str) -> None:
    import gradio

    head = (Path(__file__).parents[2] / "demos" / name / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    assert yaml.safe_load(head)["sdk_version"] == gradio.__version__
