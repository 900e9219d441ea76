"""The generator's core stands alone: it builds a glossary without the engine, which only plug-ins use."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

import ftdemo.site
from ftdemo.errors import DataError
from ftdemo.site.check import check_site, fill
from ftdemo.site.derive import derive
from ftdemo.site.plugins import Plugin
from ftdemo.site.project import Project

KNOTS = Path(__file__).parent / "knots"
PLUGINS = ("experiment_pages", "fault_pages", "lessons")
BUILD = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        root, _, rest = name.partition(".")
        engine = root == "ftdemo" and rest.partition(".")[0] not in ("", "errors", "site")
        if engine or name in {plugins!r} or root in {libraries!r}:
            raise ModuleNotFoundError(f"{{name}} is absent", name=name)

sys.meta_path.insert(0, Absent())
from mkdocs.__main__ import cli

cli(["build", "--strict", "--quiet"])
"""
LIBRARIES = (
    "accelerate",
    "gradio",
    "huggingface_hub",
    "numpy",
    "networkx",
    "peft",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
)


@pytest.fixture
def knots(tmp_path: Path) -> Project:
    shutil.copytree(KNOTS, tmp_path / "knots")
    return Project(tmp_path / "knots")


def test_a_glossary_is_built_without_the_engine_and_its_libraries(knots: Project) -> None:
    script = BUILD.format(libraries=LIBRARIES, plugins=tuple(f"ftdemo.site.{name}" for name in PLUGINS))
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=knots.root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    page = (knots.root / "site" / "terms" / "knot" / "index.html").read_text(encoding="utf-8")
    assert "joins two ropes, also where one is thicker" in page


def _imported(module: Path) -> Iterator[str]:
    """Names of our own that a module imports anywhere in it."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}:{node.lineno}: an import relative to the module"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_the_core_imports_nothing_of_the_engine_but_errors() -> None:
    modules = {path.stem: path for path in Path(ftdemo.site.__path__[0]).glob("*.py")}
    core = modules.keys() - {*PLUGINS}
    assert modules.keys() >= {*PLUGINS}
    for name in core:
        for imported in _imported(modules[name]):
            root, _, rest = imported.partition(".")
            package, _, member = rest.partition(".")
            if root == "ftdemo" and rest != "__version__":
                assert package in ("errors", "site"), f"ftdemo/site/{name}.py imports {imported}"
                assert member.partition(".")[0] not in PLUGINS, f"ftdemo/site/{name}.py imports {imported}"


class Tides(Plugin):
    """A plug-in with a file, a number and two runs, one of which never ran."""

    def files(self) -> Iterator[tuple[Path, str | bytes]]:
        yield self.project.derived / "tides" / "today.md", "High at six.\n"

    def number(self, key: str) -> float | None:
        return 4.26 if key == "height" else None

    def runs(self) -> Mapping[str, str]:
        return {"spring": "2026-11-20", "neap": ""}


@pytest.fixture
def tides(knots: Project) -> Project:
    """The glossary of knots with the plug-in above."""
    path = knots.root / "mkdocs.yml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["extra"] = {"plugins": [f"{__name__}:Tides"]}
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return Project(knots.root)


def _write_head(project: Project, line: str) -> None:
    page = project.docs / "terms" / "splice.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("level: advanced\n", f"level: advanced\n{line}\n"), encoding="utf-8")


def _append(project: Project, line: str) -> Path:
    page = project.docs / "terms" / "splice.md"
    page.write_text(f"{page.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    return page


def test_a_plug_in_adds_files(tides: Project) -> None:
    derive(tides)
    assert (tides.derived / "tides" / "today.md").read_text(encoding="utf-8") == "High at six.\n"


def test_a_plug_in_gives_the_numbers_of_pages(tides: Project) -> None:
    page = _append(tides, '<data value="height">?.?</data> metres')
    assert ["a number differs" in problem for problem in check_site(tides)] == [True]
    assert fill(tides) == [page]
    assert page.read_text(encoding="utf-8").endswith('<data value="height">4.3</data> metres\n')
    assert check_site(tides) == []


def test_a_number_that_no_plug_in_has_is_reported(tides: Project, knots: Project) -> None:
    _append(tides, '<data value="width">1</data>')
    for project in (tides, knots):
        (problem,) = check_site(project)
        assert "No recorded number `width`" in problem


def test_a_page_is_verified_on_the_day_of_its_last_run(tides: Project) -> None:
    _write_head(tides, "runs: [spring]")
    assert check_site(tides) == []
    derive(tides)
    assert "Runs: **2026-11-20**" in (tides.derived / "head" / "splice.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("run", "what"), [("neap", "`neap` was not recorded"), ("ebb", "no experiment `ebb`")])
def test_a_run_that_never_ran_is_reported(run: str, what: str, tides: Project) -> None:
    _write_head(tides, f"runs: [{run}]")
    (problem,) = check_site(tides)
    assert what in problem


@pytest.mark.parametrize("name", ["no.such.module:Tides", f"{__name__}:Waves", "not a name"])
def test_a_plug_in_that_does_not_exist_is_named(name: str, knots: Project) -> None:
    (knots.root / "mkdocs.yml").write_text(yaml.safe_dump({"extra": {"plugins": [name]}}), encoding="utf-8")
    with pytest.raises(DataError, match="there is no plug-in") as refusal:
        check_site(Project(knots.root))
    assert name in refusal.value.what
    assert "module:Class" in refusal.value.remedy


def test_what_pages_say_is_escaped(knots: Project) -> None:
    page = knots.docs / "terms" / "splice.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("full_name: Long splice", 'full_name: "<b>Long</b> & \\"fine\\""'), encoding="utf-8")
    derive(knots)
    for name in ("glossary/index.md", "head/splice.md", "related/splice.md"):
        derived = (knots.derived / name).read_text(encoding="utf-8")
        assert "<b>" not in derived
    assert "&lt;b&gt;Long&lt;/b&gt; &amp; &#34;fine&#34;" in (knots.derived / "glossary" / "index.md").read_text(
        "utf-8"
    )
