"""Builds this site as it is, and grown to many terms: how long each takes.

The terms are added as copies of the entries that are there, each under a name of its own and tied to its neighbours.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
MOST_SECONDS = {0: 8, 250: 60, 500: 60, 1000: 60}
"""Of a build, by the number of terms; 0: as the site is."""


def grow(project: Path, terms: int) -> None:
    """Add copies of entries until a project has so many terms."""
    folder = project / "docs" / "terms"
    known = [path for path in sorted(folder.glob("*.md")) if path.stem != "index"]
    entries = [(path.stem, path.read_text(encoding="utf-8")) for path in known]
    entries = [(name, text) for name, text in entries if "\ndemo: " not in text]
    names = [f"copy-{number}" for number in range(max(0, terms - len(known)))]
    for number, (name, (original, text)) in enumerate(zip(names, cycle(entries), strict=False)):
        _, front, body = text.split("---\n", 2)
        old = yaml.safe_load(front)
        near = [other for other in (number - 1, number + 1) if 0 <= other < len(names)]
        new = {key: old[key] for key in ("description", "summary", "level", "sources", "reviewed") if key in old}
        new |= {"title": f"{old['title']} {number}", "term": f"{old['term']} {number}"}
        new |= {"related": [names[other] for other in near]}
        body = re.sub(rf'--8<-- "(\w+)/{re.escape(original)}\.md"', rf'--8<-- "\1/{name}.md"', body)
        (folder / f"{name}.md").write_text(f"---\n{yaml.safe_dump(new)}---\n{body}", encoding="utf-8")
    settings = project / "docs" / "glossary.yaml"
    changed = yaml.safe_load(settings.read_text(encoding="utf-8"))
    changed["subjects"]["Copies"] = names
    settings.write_text(yaml.safe_dump(changed, sort_keys=False), encoding="utf-8")


def seconds(terms: int) -> float:
    """How long the whole site takes to build with so many terms."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        for part in ("docs", "docs_src", "demos", "ftdemo", "tests"):
            shutil.copytree(
                ROOT / part, project / part, ignore=shutil.ignore_patterns("__pycache__", "derived", "node_modules")
            )
        shutil.copy(ROOT / "mkdocs.yml", project)
        grow(project, terms)
        _run(project, "ftdemo", "site", "fill")  # copies mention terms that the originals are
        started = time.monotonic()
        _run(project, "mkdocs", "build", "--quiet")
        taken = time.monotonic() - started
        pages = len(list((project / "site" / "terms").glob("*/index.html")))
        if pages < terms:
            raise RuntimeError(f"{pages} pages came of {terms} terms")
        return taken


def _run(project: Path, *module: str) -> None:
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    subprocess.run([sys.executable, "-m", *module], cwd=project, env=environment, check=True, stdout=subprocess.DEVNULL)


def main() -> int:
    """Time each size; the number of those that take too long. A test would not assert this: machines differ."""
    missed = 0
    for terms, most in MOST_SECONDS.items():
        taken = seconds(terms)
        missed += taken > most
        print(f"{f'{terms} terms' if terms else 'this site':12} {taken:5.1f} s of {most}")
    return missed


if __name__ == "__main__":
    sys.exit(min(1, main()))
