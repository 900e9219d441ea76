"""Everything that people read keeps to the rules in rules.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest
import yaml
from prose import (
    ROOT,
    Passage,
    html_passages,
    javascript_passages,
    notebook_passages,
    page_passages,
    plain,
    python_passages,
    yaml_passages,
)

from ftdemo.cli.main import main

RULES = yaml.safe_load((Path(__file__).parent / "rules.yaml").read_text(encoding="utf-8"))
SHOWN = ("site_description", "nav")
"""The keys of the site's settings that a reader sees."""
SAID = (
    "title",
    "question",
    "says",
    "label",
    "lines",
    "about",
    "limits",
    "causes",
    "story",
    "others",
    "why",
    "clue",
    "remedy",
)
"""The keys of an experiment, and of a planted fault, that its page shows."""
LESSON = ("about", "why", "unit", "asks", "placeholder", "starts")
"""The keys of a lesson that its trainer shows; `own` is an invented job's text."""


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern.replace(" ", r"\s"))


PATTERNS = {name: _compiled(rule["pattern"]) for name, rule in RULES.items()}
EXCEPTIONS = {name: [_compiled(words) for words in rule.get("unless", {})] for name, rule in RULES.items()}


def found_in(text: str, name: str) -> Iterator[re.Match[str]]:
    """Where a text breaks a rule."""
    excused = [match.span() for words in EXCEPTIONS[name] for match in words.finditer(text)]
    for match in PATTERNS[name].finditer(text):
        if not any(start <= match.start() and match.end() <= end for start, end in excused):
            yield match


def _pages() -> Iterator[Passage]:
    data = ROOT / "ftdemo" / "data" / "sets"
    for path in [*ROOT.glob("*.md"), *(ROOT / "demos").glob("*/*.md"), *data.rglob("README.md")]:
        yield from page_passages(path)
    for path in (ROOT / "docs").rglob("*.md"):
        if "node_modules" not in path.parts and not re.match("house-", path.name):
            yield from page_passages(path)
    for path in (ROOT / "docs").rglob("*.ipynb"):
        yield from notebook_passages(path)


def _settings() -> Iterator[Passage]:
    glossary = (ROOT / "docs" / "glossary.yaml").read_text(encoding="utf-8")
    yield from yaml_passages(glossary, "docs/glossary.yaml", skip=["also_typed"])  # misspellings, for the search
    yield from yaml_passages((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), "mkdocs.yml", SHOWN)
    for folder in (ROOT / "docs" / "experiments").iterdir():
        if folder.is_dir() and not folder.name.startswith("house-"):
            # A plan replaces the experiment that was recorded before it.
            names = ("planned", "experiment", "cases")
            path = next(path for name in names if (path := folder / f"{name}.yaml").exists())
            yield from yaml_passages(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix(), SAID)
    for path in (ROOT / "docs" / "assets" / "train-here" / "lessons").glob("*.yaml"):
        yield from yaml_passages(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix(), LESSON)


def _code() -> Iterator[Passage]:
    for folder in ("ftdemo", "demos"):
        for path in (ROOT / folder).rglob("*.py"):
            if not path.is_relative_to(ROOT / "ftdemo" / "data" / "sets"):  # their strings are data, not ours to say
                yield from python_passages(path)
    for package in ("site", "ui"):
        for path in (ROOT / "ftdemo" / package / "templates").iterdir():
            yield from html_passages(path)
    for path in (ROOT / "docs" / "diagrams").glob("*.html"):
        yield from html_passages(path)
    assets = ROOT / "docs" / "assets"
    for path in [*assets.glob("*.js"), *(assets / "train-here" / "src").glob("*.js")]:
        yield from javascript_passages(path)


def _help(command: click.Command, parent: click.Context | None = None) -> Iterator[Passage]:
    context = click.Context(command, parent=parent, info_name=command.name if parent else "ftdemo")
    texts = [command.help, command.epilog, *(getattr(option, "help", None) for option in command.get_params(context))]
    yield Passage(f"{context.command_path} --help", 1, "\n".join(plain(text) for text in texts if text))
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _help(below, context)


@cache
def passages() -> list[Passage]:
    """Everything that people read."""
    return [*_pages(), *_settings(), *_code(), *_help(main)]


def test_everything_that_people_read_is_looked_at() -> None:
    places = {passage.place for passage in passages()}
    assert len(places) > 300
    assert {
        "README.md",
        "CONTRIBUTING.md",
        "docs/terms/lora.md",
        "docs/glossary.yaml",
        "docs/experiments/rank/planned.yaml",
        "docs/notebooks/lora.ipynb, cell 1",
        "ftdemo/data/sets/tickets/README.md",
        "ftdemo/errors.py",
        "demos/lora/app.py",
        "docs/assets/glossary.js",
        "docs/assets/train-here/src/element.js",
        "ftdemo train --help",
    } <= places


@pytest.mark.parametrize("name", RULES)
def test_a_rule_finds_its_bad_examples_and_leaves_its_good_ones_alone(name: str) -> None:
    rule = RULES[name]
    assert all(rule[key] for key in ("why", "instead", "bad", "good"))
    assert all(rule.get("unless", {}).values()), "an exception needs a reason"
    assert [text for text in rule["bad"] if not any(found_in(text, name))] == []
    assert [text for text in rule["good"] if any(found_in(text, name))] == []


@pytest.mark.parametrize("name", RULES)
def test_what_people_read_keeps_to_the_rules(name: str) -> None:
    rule, problems = RULES[name], []
    for passage in passages():
        for match in found_in(passage.text, name):
            line = passage.line + passage.text.count("\n", 0, match.start())
            around = " ".join(passage.text[max(0, match.start() - 40) : match.end() + 40].split())
            problems.append(f"{passage.place}:{line}: “{match[0]}” in “… {around} …”")
    assert not problems, "\n".join([f"{rule['why']} Write instead: {rule['instead']}", *problems])
