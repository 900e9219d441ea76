"""The words of the harbour town, and its kinds of persons, places and boats."""

from __future__ import annotations

from functools import cache

from ftdemo.data.sets.harbour_tales import figures, forms
from ftdemo.data.sets.harbour_tales.lexicon import WORDS, word_lists
from ftdemo.data.sets.stories.kinds import Kind, Kinds, Record, Table, deed, table_of
from ftdemo.data.sets.stories.lexicon import read_deed_verbs


@cache
def kinds() -> Kinds:
    """Every kind by its name."""
    built = {
        "person": _person,
        "deed": lambda: deed(read_deed_verbs(WORDS), word_lists()),
        "place": _place,
        "boat": lambda: _boat("boat", "boat_type"),
        "rowing_boat": lambda: _boat("rowing_boat", "small_boat"),
    }
    return Kinds(word_lists(), figures.TABLES, built)


def _names(gender: str) -> list[Record]:
    she = {"he": "she", "him": "her", "his": "her", "himself": "herself", "man": "woman", "child": "girl"}
    he = {"he": "he", "him": "him", "his": "his", "himself": "himself", "man": "man", "child": "boy"}
    words, titles = (she, ("Mrs", "Miss")) if gender == "girl" else (he, ("Mr", "Captain"))
    return [
        {"name": name, "mister": titles[number % 3 == 0], "kin": kin, **words}
        for number, name in enumerate(word_lists()[f"{gender}_name"].entries)
        for kin in word_lists()[f"{gender}_kin"].entries
    ]


def _person() -> Kind:
    names = Table(tuple(_names("girl") + _names("boy")))
    rest = [table_of(word_lists(), name, field=name) for name in ("surname", "trade", "nature")]
    return Kind("person", (names, *rest), forms.PERSON_FORMS)


def _place() -> Kind:
    parts = (entry.partition(" ") for entry in word_lists()["place"].entries)
    return Kind("place", (Table(tuple({"prep": prep, "place": place} for prep, _, place in parts)),), forms.PLACE_FORMS)


def _boat(name: str, types: str) -> Kind:
    lists = (("boat_quality", "quality"), ("boat_name", "boat"), (types, "type"), ("boat_look", "look"))
    return Kind(name, tuple(table_of(word_lists(), entries, field=field) for entries, field in lists), forms.BOAT_FORMS)
