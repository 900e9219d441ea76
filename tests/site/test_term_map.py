"""The map of terms: every term is on it once, names keep clear of each other, and lines keep clear of names."""

import re
from itertools import combinations
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest

from ftdemo.site.derive import load_glossary
from ftdemo.site.glossary import Glossary, Settings
from ftdemo.site.project import Project
from ftdemo.site.term_map import Card, lay_out, term_map

ROOT = Path(__file__).parents[2]
WIDEST = 0.6
"""How wide a letter of a wide font is, on average, as a share of its size."""


class Box(NamedTuple):
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Whether two rectangles have a point in common."""
        beside = self.right < other.left or other.right < self.left
        return not (beside or self.bottom < other.top or other.bottom < self.top)

    def holds(self, other: "Box") -> bool:
        """Whether another rectangle is within this one."""
        return (
            self.left <= other.left <= other.right <= self.right
            and self.top <= other.top <= other.bottom <= self.bottom
        )


@pytest.fixture(scope="module")
def glossary() -> Glossary:
    return load_glossary(Project(ROOT))


@pytest.fixture(scope="module")
def svg(glossary: Glossary) -> ElementTree.Element:
    found = ElementTree.fromstring(term_map(glossary, "../terms/{}/")).find(".//svg[@class='ft-net']")
    assert found is not None
    return found


def label_boxes(svg: ElementTree.Element) -> dict[str, Box]:
    """Where each name and each subject is written."""
    boxes = {}
    for text in svg.iter("text"):
        x, y, size = (float(text.attrib[key]) for key in ("x", "y", "font-size"))
        name = text.text or ""
        boxes[name] = Box(x, y - 0.8 * size, x + WIDEST * size * len(name), y + 0.25 * size)
    return boxes


def test_every_term_is_on_the_map_once_and_leads_to_its_page(glossary: Glossary, svg: ElementTree.Element) -> None:
    links = [link.attrib["href"] for link in svg.iter("a")]
    assert sorted(links) == sorted(f"../terms/{slug}/" for slug in glossary.terms)
    assert len(label_boxes(svg)) == len(glossary.terms) + len(glossary.settings.subjects)


def test_no_two_names_overlap_and_all_are_within_the_picture(svg: ElementTree.Element) -> None:
    boxes = label_boxes(svg)
    overlapping = [(one, other) for one, other in combinations(boxes, 2) if boxes[one].meets(boxes[other])]
    assert overlapping == []
    picture = Box(*map(float, svg.attrib["viewBox"].split()))
    assert all(picture.holds(box) for box in boxes.values())


def test_no_two_cards_overlap_and_each_name_is_on_the_card_of_its_subject(
    glossary: Glossary, svg: ElementTree.Element
) -> None:
    cards = lay_out(glossary)
    boxes = {card.subject: Box(card.x, card.y, card.right, card.y + card.height) for card in cards}
    assert not any(one.meets(other) for one, other in combinations(boxes.values(), 2))
    labels = label_boxes(svg)
    for card in cards:
        for name in (card.subject, *(row.term.term for row in card.rows)):
            assert boxes[card.subject].holds(labels[name]), name


def test_a_line_joins_each_two_related_terms_and_ends_at_the_edges_of_their_cards(
    glossary: Glossary, svg: ElementTree.Element
) -> None:
    cards: dict[str, Card] = {row.term.slug: card for card in lay_out(glossary) for row in card.rows}
    lines = {line.attrib["data-ends"]: line.attrib["d"] for line in svg.iter("path") if "data-ends" in line.attrib}
    assert "lora rank" in lines
    related = {tuple(sorted((slug, other))) for slug, term in glossary.terms.items() for other in term.related}
    assert related <= {tuple(ends.split()) for ends in lines}
    for ends, path in lines.items():
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", path)]
        edges = {round(edge, 1) for slug in ends.split() for edge in (cards[slug].x, cards[slug].right)}
        assert {numbers[0], numbers[-2]} <= edges


def test_the_same_glossary_gives_the_same_map(glossary: Glossary) -> None:
    assert term_map(glossary, "{}") == term_map(glossary, "{}")


def test_a_glossary_without_subjects_is_one_card_and_one_without_terms_an_empty_one(glossary: Glossary) -> None:
    settings = Settings(name="All of it", about="a", levels=glossary.settings.levels)
    (card,) = lay_out(Glossary(settings, glossary.terms))
    assert (card.subject, len(card.rows)) == ("All of it", len(glossary.terms))
    (empty,) = lay_out(Glossary(settings, {}))
    assert empty.rows == ()
