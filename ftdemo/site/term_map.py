"""The map of all terms: where each is drawn, and which of them are related. The same terms give the same map."""

from __future__ import annotations

import cmath
import math
import random
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

from ftdemo.site.glossary import POINTERS, Glossary

_LABEL = complex(0.12, 0.036)
"""Width and height of a name, as shares of the map's."""
_STEPS = 300
_MANY = 200
"""A picture of so many terms is too dense to read, and the time to place them grows with the square of their number."""

_Edge = tuple[str, str]
_Places = dict[str, complex]
"""Points of the plane as complex numbers, because their difference is a vector and its absolute value a distance."""


def term_map(glossary: Glossary) -> dict[str, Any]:
    """The terms as nodes with places between 0 and 1, and the relations between them as edges."""
    edges = sorted(set(_edges(glossary)))
    places = _places(list(glossary.terms), edges)
    return {
        "levels": glossary.settings.levels,
        "nodes": [
            {
                "slug": slug,
                "term": term.term,
                "level": term.level,
                "x": round(places[slug].real, 3),
                "y": round(places[slug].imag, 3),
            }
            for slug, term in glossary.terms.items()
        ],
        "edges": edges,
    }


def _edges(glossary: Glossary) -> Iterator[_Edge]:
    for slug, term in glossary.terms.items():
        for relation in POINTERS:
            for other in term.related_by(relation):
                yield (slug, other) if slug < other else (other, slug)


def _places(names: list[str], edges: list[_Edge]) -> _Places:
    if len(names) > _MANY:
        return _stretched({name: cmath.rect(1, math.tau * at / len(names)) for at, name in enumerate(names)})
    return _stretched(_with_room_for_names(_stretched(_attracted(names, edges))))


def _attracted(names: list[str], edges: list[_Edge]) -> _Places:
    """Places in which related terms are close: all terms repel each other, and related ones attract.

    Fruchterman and Reingold, "Graph drawing by force-directed placement" (1991), equations (1) and (2).
    """
    generator = random.Random(0)
    places = {name: complex(generator.random(), generator.random()) for name in names}
    related, distance = set(edges), 3 / max(len(names), 1) ** 0.5
    for step in range(_STEPS):
        forces = dict.fromkeys(names, 0j)
        for one, other in combinations(names, 2):
            away = places[one] - places[other]
            apart = max(abs(away), 0.01)
            force = (distance / apart) ** 2
            if (one, other) in related or (other, one) in related:
                force -= apart / distance
            forces[one] += away * force
            forces[other] -= away * force
        longest = 0.1 * (1 - step / (_STEPS + 1))  # ever shorter moves, so that the places come to rest
        for name, force in forces.items():
            places[name] += longest * force / max(abs(force), 0.01)
    return places


def _with_room_for_names(places: _Places) -> _Places:
    """The same places with overlapping names pushed apart, up and down."""
    for _ in range(_STEPS):
        moves = dict.fromkeys(places, 0.0)
        for one, other in combinations(places, 2):
            away = places[one] - places[other]
            if abs(away.real) < _LABEL.real and abs(away.imag) < _LABEL.imag:
                push = math.copysign(_LABEL.imag - abs(away.imag), away.imag) / 4
                moves[one] += push
                moves[other] -= push
        if not any(moves.values()):
            break
        places = {name: place + 1j * moves[name] for name, place in places.items()}
    return places


def _stretched(places: _Places) -> _Places:
    """Places that fill the map from 0 to 1 both ways; the middle where all are the same."""
    right, down = _scale([place.real for place in places.values()]), _scale([place.imag for place in places.values()])
    return {name: complex(right(place.real), down(place.imag)) for name, place in places.items()}


def _scale(values: list[float]) -> Callable[[float], float]:
    low, high = min(values, default=0.0), max(values, default=0.0)
    return lambda value: (value - low) / (high - low) if high > low else 0.5
