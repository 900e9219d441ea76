"""The terms of a glossary and how they are related, read from the heads of their pages. Nothing is written here.

The subject of the terms does not matter here: levels, page parts and learning paths come from
``docs/glossary.yaml``.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ftdemo.errors import DataError, first_problem

RELATIONS = {"broader": "narrower", "narrower": "broader", "contrast": "contrast", "related": "related"}
"""Each relation between terms, and what it is called from the other end."""
POINTERS = (*RELATIONS, "prerequisites")
"""All ways in which a term's head names others."""
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_FROZEN = ConfigDict(frozen=True, extra="forbid")
_SETTINGS = "glossary.yaml"


class Term(BaseModel):
    """The head of a term's page."""

    model_config = _FROZEN

    slug: str = Field(description="the page's file name, without its ending")
    title: str
    description: str = Field(default="", description="the summary again, where the page's own head wants it")
    term: str
    full_name: str = ""
    aliases: tuple[str, ...] = ()
    summary: str = Field(min_length=20, max_length=200, description="one sentence: card, index, search result")
    level: str
    prerequisites: tuple[str, ...] = ()
    broader: tuple[str, ...] = ()
    narrower: tuple[str, ...] = ()
    contrast: tuple[str, ...] = ()
    related: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    demo: str = ""
    runs: tuple[str, ...] = ()
    reviewed: dt.date

    @property
    def names(self) -> tuple[str, ...]:
        """All that it is called, each once, whatever its case."""
        found = {name.casefold(): name for name in reversed((self.term, self.full_name, *self.aliases)) if name}
        return tuple(reversed(found.values()))

    @property
    def other_names(self) -> tuple[str, ...]:
        """All that it is called besides."""
        return tuple(name for name in self.names if name != self.term)

    def related_by(self, relation: str) -> tuple[str, ...]:
        """The slugs that a relation names."""
        slugs: tuple[str, ...] = getattr(self, relation)
        return slugs


class LearningPath(BaseModel):
    """Terms in the order in which someone with one aim should read them."""

    model_config = _FROZEN

    title: str
    about: str
    terms: tuple[str, ...]


class Settings(BaseModel):
    """What ``docs/glossary.yaml`` holds."""

    model_config = _FROZEN

    name: str
    about: str
    demos: str = Field(default="", description="where a demo runs, with `{name}` for its name")
    embedded: str = Field(default="", description="where a demo runs for a page that shows it, with `{name}` too")
    feedback: str = Field(default="", description="where readers say what is missing, with `{name}` for the term")
    levels: dict[str, str] = Field(description="each level's name, and how it reads")
    flagships: tuple[str, ...] = ()
    subjects: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="each subject's terms: a card on the map of terms"
    )
    also_typed: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="misspellings by which the search finds a term; no page shows them"
    )
    anatomy: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="second headings of a `flagship` and of an `entry`; `|` parts alternatives"
    )
    paths: dict[str, LearningPath] = Field(default_factory=dict)


@dataclass(frozen=True)
class Glossary:
    """Terms by their slugs, in the order of their names."""

    settings: Settings
    terms: Mapping[str, Term]

    @cached_property
    def backlinks(self) -> dict[str, list[str]]:
        """For each term the terms that point at it in any way, a prerequisite included."""
        found: dict[str, list[str]] = {slug: [] for slug in self.terms}
        for slug, term in self.terms.items():
            for relation in POINTERS:
                for other in term.related_by(relation):
                    if other in found and slug not in found[other]:
                        found[other].append(slug)
        return found

    def anatomy(self, slug: str) -> tuple[str, ...]:
        """The second headings that a term's page has to have."""
        return self.settings.anatomy.get("flagship" if slug in self.settings.flagships else "entry", ())


def load_settings(docs: Path) -> Settings:
    """The glossary's own settings.

    Raises:
        DataError: If the file is missing, or something in it is not as it should be.
    """
    path = docs / _SETTINGS
    try:
        return Settings(**yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        what = f"{path}: {first_problem(error)}." if isinstance(error, ValidationError) else f"{path}: {error}"
        raise DataError(what, "It holds name, about, levels, anatomy and paths.") from None


def load_terms(pages: list[Path]) -> tuple[dict[str, Term], list[tuple[Path, int, str]]]:
    """The terms whose heads are valid, sorted by name; and page, line and problem of the others."""
    terms: dict[str, Term] = {}
    problems: list[tuple[Path, int, str]] = []
    for page in pages:
        try:
            terms[page.stem] = Term(slug=page.stem, **head(page))
        except ValidationError as error:
            text = page.read_text(encoding="utf-8")
            for each in error.errors(include_url=False):
                key = str(each["loc"][0]) if each["loc"] else ""
                problems.append((page, line_of(text, key), f"`{key}`: {each['msg']}. Fix it in the page's head."))
        except (TypeError, yaml.YAMLError) as error:
            what = f"the page's head cannot be read: {str(error).splitlines()[0]}. Write YAML between two lines `---`."
            problems.append((page, 1, what))
    return dict(sorted(terms.items(), key=lambda item: item[1].term.casefold())), problems


def head(page: Path) -> dict[str, Any]:
    """The YAML head of a page; empty if there is none."""
    match = _FRONT_MATTER.match(page.read_text(encoding="utf-8"))
    return yaml.safe_load(match[1]) if match else {}


def body(text: str) -> tuple[str, int]:
    """A page's text without its head, and the number of the line on which it begins."""
    match = _FRONT_MATTER.match(text)
    return (text[match.end() :], text[: match.end()].count("\n") + 1) if match else (text, 1)


def line_of(text: str, key: str) -> int:
    """The line of a page that has a key of its head; 1 if none has."""
    return next((number for number, line in enumerate(text.split("\n"), 1) if line.startswith(f"{key}:")), 1)
