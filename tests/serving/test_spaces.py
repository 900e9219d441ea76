"""Folders that are Spaces. That they install and train on a bare Python is tried by `make spaces`."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from huggingface_hub import RepoCard
from packaging.requirements import Requirement
from packaging.version import Version

from ftdemo.errors import UsageError
from ftdemo.serving.server import demo_names
from ftdemo.serving.spaces import space_requirements, write_space


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


def test_the_requirements_are_released_versions_whatever_build_is_installed_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: f"{version(name).partition('+')[0]}+cpu")
    known = {Requirement(line).name.lower() for line in importlib.metadata.requires("ftdemo") or ()}
    for line in space_requirements():
        needed = Requirement(line)
        (pinned,) = needed.specifier
        assert needed.name.lower() in known
        assert pinned.operator == "=="
        assert Version(pinned.version).public == pinned.version
        assert needed.url is None


def test_a_version_that_was_never_released_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    version = importlib.metadata.version
    unreleased = {"torch": "2.14.0.dev20261101+cpu"}
    monkeypatch.setattr(importlib.metadata, "version", lambda name: unreleased.get(name) or version(name))
    with pytest.raises(UsageError, match=r"(?s)torch 2\.14\.0\.dev20261101 is installed.*never released.*pip install"):
        write_space("lora", tmp_path / "space")
    assert not list(tmp_path.iterdir())


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
    with pytest.raises(UsageError, match="already exists"):
        write_space("lora", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(UsageError, match="There is no demo called rola"):
        write_space("rola", tmp_path / "space")


@pytest.mark.parametrize("name", demo_names())
def test_the_card_in_the_repository_names_the_version_of_gradio_that_is_used(name: str) -> None:
    import gradio

    head = (Path(__file__).parents[2] / "demos" / name / "README.md").read_text(encoding="utf-8").split("---\n")[1]
    assert yaml.safe_load(head)["sdk_version"] == gradio.__version__
