"""The guide's glossary of knots: its configuration, its settings and its first term."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from shown import ROOT, commands, ftdemo, source

from ftdemo.site.experiment_pages import ExperimentPages
from ftdemo.site.glossary import load_settings
from ftdemo.site.plugins import load_plugins
from ftdemo.site.project import Project

KNOTS = ROOT / "tests" / "site" / "knots"


def test_the_configuration_is_that_of_the_glossary_which_is_built_in_tests() -> None:
    shown = yaml.safe_load(source("your-own-glossary/mkdocs.yaml"))
    built = yaml.safe_load((KNOTS / "mkdocs.yml").read_text(encoding="utf-8"))
    extensions = shown.pop("markdown_extensions")
    assert [each for each in extensions if each not in built["markdown_extensions"]] == []
    assert {key: built[key] for key in shown} == {**shown, "theme": built["theme"]}
    assert built["theme"]["name"] == shown["theme"]["name"]


def test_the_settings_are_about_terms_of_that_glossary(tmp_path: Path) -> None:
    (tmp_path / "glossary.yaml").write_text(source("your-own-glossary/glossary.yaml"), encoding="utf-8")
    shown, built = load_settings(tmp_path), load_settings(KNOTS / "docs")
    assert (shown.levels, shown.flagships, shown.paths) == (built.levels, built.flagships, built.paths)


def test_subjects_and_misspellings_can_follow(tmp_path: Path) -> None:
    both = source("your-own-glossary/glossary.yaml") + source("your-own-glossary/subjects.yaml")
    (tmp_path / "glossary.yaml").write_text(both, encoding="utf-8")
    shown = load_settings(tmp_path)
    assert set(shown.also_typed) == set(shown.subjects["Loops"]) == {"bowline"}


def test_a_new_term_gets_the_headings_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    Path("docs/glossary.yaml").write_text(source("your-own-glossary/glossary.yaml"), encoding="utf-8")
    (words,) = commands("your-own-glossary/new_term.sh")
    ftdemo(words)
    page = Path("docs/terms/sheet-bend.md").read_text(encoding="utf-8")
    assert [f"## {heading}" in page for heading in load_settings(Path("docs")).anatomy["entry"]] == [True, True]


def test_the_plugin_is_one_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "mkdocs.yml").write_text(source("your-own-glossary/plugins.yaml"), encoding="utf-8")
    (plugin,) = load_plugins(Project(tmp_path))
    assert isinstance(plugin, ExperimentPages)
