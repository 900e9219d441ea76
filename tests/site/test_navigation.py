"""The navigation of this site: four tabs, and every page in one place."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftdemo.site.derive import load_glossary
from ftdemo.site.glossary import Glossary
from ftdemo.site.project import Project

PROJECT = Project(Path(__file__).parents[2])


@pytest.fixture(scope="module")
def glossary() -> Glossary:
    return load_glossary(PROJECT)


@pytest.fixture(scope="module")
def learn() -> dict[str, Any]:
    """The tab of the glossary: its sections by their titles."""
    tabs = {title: pages for tab in PROJECT.site["nav"] for title, pages in tab.items()}
    assert list(tabs) == ["Learn", "Guides", "Experiments", "Reference"]
    return {title: pages for section in tabs["Learn"] for title, pages in section.items()}


def pages_of(part: Any) -> Iterator[str]:
    """All pages of a part of the navigation, in their order."""
    if isinstance(part, str):
        yield part
    else:
        for each in part.values() if isinstance(part, dict) else part:
            yield from pages_of(each)


def test_every_page_is_in_the_navigation_once() -> None:
    listed = list(pages_of(PROJECT.site["nav"]))
    published = [page.relative_to(PROJECT.docs).as_posix() for page in PROJECT.pages()]
    left_out = ("assets/", "diagrams/", "overrides/")
    assert sorted(listed) == sorted(page for page in published if not page.startswith(left_out))


def test_the_long_pages_come_first_in_their_reading_order(glossary: Glossary, learn: dict[str, Any]) -> None:
    assert list(pages_of(learn["Start here"])) == [f"terms/{slug}.md" for slug in glossary.settings.flagships]


def test_every_other_term_is_in_the_navigation_by_its_name_under_its_subject(
    glossary: Glossary, learn: dict[str, Any]
) -> None:
    listed = {subject: pages for section in learn["Terms by subject"] for subject, pages in section.items()}
    assert listed == {
        subject: [
            {glossary.terms[slug].term: f"terms/{slug}.md"} for slug in slugs if slug not in glossary.settings.flagships
        ]
        for subject, slugs in glossary.settings.subjects.items()
    }


def test_a_misspelling_is_no_name_of_any_term_and_belongs_to_one(glossary: Glossary) -> None:
    names = [name.casefold() for term in glossary.terms.values() for name in term.names]
    typed = [name.casefold() for also in glossary.settings.also_typed.values() for name in also]
    assert set(glossary.settings.also_typed) == set(glossary.terms)
    assert len({*names, *typed}) == len(set(names)) + len(typed)
