"""The map of terms: a card for each subject, and lines between related terms. The same terms give the same map.

The cards form columns. A line begins and ends at the edge of a card and passes behind the others, so that no line
crosses a name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from markupsafe import Markup

from ftdemo.site.glossary import POINTERS, Glossary, Term
from ftdemo.site.rendering import render_template

FONT = 15
"""The size of a name's letters. All lengths here are in the units of the picture, which are about a pixel wide."""
_LETTER = 0.58 * FONT
"""How wide a letter is on average: in a wide font, so that names also fit in others."""
_ROW, _HEAD, _FOOT = 28, 46, 10
"""Heights of a name, of a card's heading, and of the space below its last name."""
_BESIDE_NAME = 46
"""The width of a card without its names."""
_ALLEY, _BETWEEN, _RIM = 60, 24, 8
"""Space for lines to the left of each column, space between cards of a column, and space around the picture."""
_COLUMNS = 4


@dataclass(frozen=True)
class PlacedTerm:
    """A term's place on a card."""

    term: Term
    y: float
    """The middle of the row."""


@dataclass(frozen=True)
class Card:
    """A subject and its terms."""

    subject: str
    column: int
    x: float
    y: float
    width: float
    rows: tuple[PlacedTerm, ...]

    @property
    def height(self) -> float:
        """From the card's upper to its lower edge."""
        return _height(len(self.rows))

    @property
    def right(self) -> float:
        """The card's right edge."""
        return self.x + self.width


def term_map(glossary: Glossary, to: str) -> Markup:
    """The map as SVG, with a key and with buttons that a script connects.

    Args:
        glossary: All terms.
        to: The published address of a term's page, seen from the map's own page, with ``{}`` for its slug.
    """
    cards = lay_out(glossary)
    return render_template(
        "term_map.html",
        cards=cards,
        font=FONT,
        height=max(card.y + card.height for card in cards) + _RIM,
        levels=glossary.settings.levels,
        lines=list(_lines(glossary, cards)),
        row_height=_ROW,
        to=to,
        width=max(card.right for card in cards) + _RIM,
    )


def lay_out(glossary: Glossary) -> list[Card]:
    """A card for each subject, in columns that are about equally high."""
    subjects = list(_subjects(glossary).items())
    cards: list[Card] = []
    left: float = _RIM
    for number, column in enumerate(_columns([_height(len(terms)) + _BETWEEN for _, terms in subjects])):
        names = [name for subject, terms in subjects[column] for name in (subject, *(term.term for term in terms))]
        x, y = left + _ALLEY, float(_RIM)
        width = max(map(len, names)) * _LETTER + _BESIDE_NAME
        for subject, terms in subjects[column]:
            rows = tuple(PlacedTerm(term, y + _HEAD + _ROW * (place + 0.5)) for place, term in enumerate(terms))
            cards.append(Card(subject, number, round(x, 1), y, round(width, 1), rows))
            y += cards[-1].height + _BETWEEN
        left = x + width
    return cards


def _subjects(glossary: Glossary) -> Mapping[str, Sequence[Term]]:
    """The terms of each subject; all terms together if the glossary names no subjects."""
    settings = glossary.settings
    if not settings.subjects:
        return {settings.name: list(glossary.terms.values())}
    return {
        subject: [glossary.terms[slug] for slug in slugs if slug in glossary.terms]  # the check reports the others
        for subject, slugs in settings.subjects.items()
    }


def _height(rows: int) -> float:
    return _HEAD + _ROW * rows + _FOOT


def _columns(heights: Sequence[float]) -> list[slice]:
    """Which cards each column holds, in their order, if the highest column is to be as low as possible."""
    inner = combinations(range(1, len(heights)), min(_COLUMNS, len(heights)) - 1)
    columns = ([slice(*ends) for ends in pairwise((0, *cuts, len(heights)))] for cuts in inner)
    return min(columns, key=lambda slices: max(sum(heights[column]) for column in slices))


def _lines(glossary: Glossary, cards: Sequence[Card]) -> Iterator[dict[str, str]]:
    """A path for each two related terms, with their slugs."""
    places = {row.term.slug: (card, row.y) for card in cards for row in card.rows}
    pairs = {
        frozenset((slug, other))
        for slug, term in glossary.terms.items()
        for relation in POINTERS
        for other in term.related_by(relation)
        if slug in places and other in places
    }
    for one, other in sorted(sorted(pair) for pair in pairs):
        left, right = sorted((places[one], places[other]), key=lambda place: (place[0].column, place[1]))
        yield {"ends": f"{one} {other}", "path": _path(*left, *right)}


def _path(card: Card, y: float, other: Card, other_y: float) -> str:
    """A curve from the right edge of a card to the left edge of another, or along the left edge of one column."""
    if card.column == other.column:
        bulge = 12 + (_ALLEY - 24) * min(1, (other_y - y) / 400)
        return f"M{card.x:g} {y:g}C{card.x - bulge:g} {y:g} {card.x - bulge:g} {other_y:g} {card.x:g} {other_y:g}"
    middle = (card.right + other.x) / 2
    return f"M{card.right:g} {y:g}C{middle:g} {y:g} {middle:g} {other_y:g} {other.x:g} {other_y:g}"
