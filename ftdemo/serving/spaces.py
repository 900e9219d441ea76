"""A folder that is a Hugging Face Space: a demo's app and card, the package as source, and pinned requirements."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
from pathlib import Path

from ftdemo.data.atomic import atomic_write
from ftdemo.errors import UsageError, writing
from ftdemo.serving.server import STUDIO, demo_folder, demo_names

_PACKAGE = Path(__file__).parents[1]
_EXTRAS = ("demos", "smollm2")
"""What a Space needs besides the package's own dependencies. The models come from the Hub, as the card says."""
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "_demos", "site")
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?P<extras>\[[^]]*\])?[^;]*(?:;\s*(?P<marker>.*))?")


def write_space(name: str, out: Path) -> list[Path]:
    """Write a Space.

    Args:
        name: A demo's name.
        out: The folder to write. It may not exist, or has to be empty.

    Returns:
        What stands at the top of the folder.

    Raises:
        UsageError: If there is no such demo, or the folder is not empty.
        StorageError: If the folder cannot be written.
    """
    source = demo_folder(name)
    requirements = "\n".join(space_requirements()) + "\n"
    with writing(out, "Name another folder."):
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UsageError(f"{out} already exists.", "Name another folder, or remove it.")
    with writing(out, "Name another folder."), atomic_write(out) as new:
        new.mkdir()
        shutil.copy(source / "app.py", new / "app.py")
        shutil.copytree(_PACKAGE, new / "ftdemo", ignore=_LEFT_OUT)
        if name == STUDIO:
            for demo in demo_names():
                (new / "ftdemo" / "_demos" / demo).mkdir(parents=True)
                shutil.copy(demo_folder(demo) / "app.py", new / "ftdemo" / "_demos" / demo / "app.py")
        (new / "README.md").write_text(space_card(source / "README.md"), encoding="utf-8")
        (new / "requirements.txt").write_text(requirements, encoding="utf-8")
    return sorted(out.iterdir())


def space_card(file: Path) -> str:
    """A Space's card, for the version of Gradio that is installed here."""
    from huggingface_hub import SpaceCard

    found = SpaceCard.load(file)
    found.data.sdk_version = importlib.metadata.version("gradio")
    return str(found)


def space_requirements() -> list[str]:
    """What the package needs on a Space, in the versions that are installed here: what it was tried with.

    Raises:
        UsageError: If one of them was never released, so that a Space could not install it.
    """
    found = {}
    for line in importlib.metadata.requires("ftdemo") or ():
        parts = _REQUIREMENT.fullmatch(line.strip())
        assert parts, line
        wanted = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", parts["marker"] or "")
        if wanted is None or wanted[1] in _EXTRAS:
            name = parts["name"]
            found[name.lower()] = f"{name}{parts['extras'] or ''}=={_released_version(name)}"
    return sorted(found.values(), key=str.lower)


def _released_version(package: str) -> str:
    """The installed version as PyPI has it: without the local segment that names a build, such as ``+cpu``.

    A Space installs the build that fits its own hardware.
    """
    version = importlib.metadata.version(package).partition("+")[0]
    if ".dev" in version:
        what = f"{package} {version} is installed here. It was never released, so a Space cannot install it."
        raise UsageError(what, f"Install a release and try again: pip install --force-reinstall {package}")
    return version
