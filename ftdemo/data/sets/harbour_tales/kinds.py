"""Kinds of entities that texts speak of, such as persons, boats and nouns of one sort.

A kind is one or more tables of records and some forms. An entity is one record of each table; a form is a pattern over
their fields. Generator and checker both read these tables, and the checker holds a text to one entity for each role.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from ftdemo.data.sets.harbour_tales import figures, forms
from ftdemo.data.sets.harbour_tales.lexicon import WordList, deed_verbs, word_lists
from ftdemo.data.sets.harbour_tales.morphology import ing, past, plural, third
from ftdemo.data.sets.harbour_tales.tokens import tokens

Record = Mapping[str, str]
Entity = tuple[Record, ...]
_FIELD = re.compile(r"(<\w+>)")


@dataclass(frozen=True)
class Field:
    """A field of a kind's table, to be filled from an entity."""

    table: int
    name: str


@dataclass(frozen=True, eq=False)
class Table:
    """Records that all have the same fields."""

    records: tuple[Record, ...]
    skewed: bool = False
    """Whether records near the front are taken more often, as common words are. Word lists begin with those."""

    def pick(self, random: Callable[[], float]) -> Record:
        """One record, by chance."""
        chance = random()
        return self.records[int((chance * chance if self.skewed else chance) * len(self.records))]

    @cached_property
    def index(self) -> dict[str, dict[str, list[tuple[tuple[str, ...], frozenset[int]]]]]:
        """For every field and first token: the token runs it may have, and the records that have them."""
        return {name: self._index_of(name) for name in self.records[0]}

    def _index_of(self, name: str) -> dict[str, list[tuple[tuple[str, ...], frozenset[int]]]]:
        owners: dict[str, list[int]] = {}
        for number, record in enumerate(self.records):
            owners.setdefault(record[name], []).append(number)
        by_first: dict[str, list[tuple[tuple[str, ...], frozenset[int]]]] = {}
        for value, numbers in owners.items():
            run = tokens(value)
            by_first.setdefault(run[0], []).append((run, frozenset(numbers)))
        return by_first


@dataclass(frozen=True, eq=False)
class Kind:
    """A sort of entity: its tables, and the forms in which a text may name it."""

    name: str
    tables: tuple[Table, ...]
    forms: Mapping[str, str]

    def pick(self, random: Callable[[], float]) -> Entity:
        """One entity, by chance."""
        return tuple([table.pick(random) for table in self.tables])

    def form(self, name: str) -> tuple[str | Field, ...]:
        """The pattern of a form: literal text and fields."""
        if name not in self.forms:
            raise ValueError(f"{self.name!r} has no form {name!r}; it has {sorted(self.forms)}.")
        return tuple(self._part(part) for part in _FIELD.split(self.forms[name]) if part)

    def _part(self, part: str) -> str | Field:
        if not part.startswith("<"):
            return part
        name = part[1:-1]
        owner = next(number for number, table in enumerate(self.tables) if name in table.records[0])
        return Field(owner, name)


@cache
def kind(name: str) -> Kind:
    """The kind of that name: a built one, such as `person`, or one made from a word list."""
    if name in _BUILT:
        return _BUILT[name]()
    if name in figures.TABLES:
        records = figures.TABLES[name]()
        patterns = {field: f"<{field}>" for field in records[0]}
        return Kind(name, (Table(records),), {"": next(iter(patterns.values())), **patterns})
    if name not in word_lists():
        raise ValueError(f"no kind {name!r}: neither built nor a word list.")
    return _kind_of_list(word_lists()[name])


def _kind_of_list(words: WordList) -> Kind:
    if words.subject == "verbs":
        return Kind(words.name, (Table(tuple(_verb(entry) for entry in words.entries)),), forms.VERB_FORMS)
    if words.adjectives:
        nouns = Table(tuple(_noun(entry) for entry in words.entries), skewed=True)
        return Kind(words.name, (nouns, _adjectives(*words.adjectives)), forms.NOUN_FORMS)
    table = Table(tuple({"word": entry} for entry in words.entries), skewed=True)
    return Kind(words.name, (table,), {"": "<word>", "a": "a~ <word>"})


def _adjectives(*names: str, field: str = "adj") -> Table:
    found = dict.fromkeys(entry for name in names for entry in word_lists()[name].entries)
    return Table(tuple({field: entry} for entry in found), skewed=True)


def _noun(entry: str) -> dict[str, str]:
    noun, _, odd = entry.partition("/")
    return {"noun": noun, "nouns": odd or plural(noun)}


def _verb(entry: str) -> dict[str, str]:
    base, _, odd = entry.partition("/")
    return {"base": base, "past": odd or past(base), "ing": ing(base), "third": third(base)}


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
    rest = [_adjectives(name, field=name) for name in ("surname", "trade", "nature")]
    return Kind("person", (names, *rest), forms.PERSON_FORMS)


def _deed() -> Kind:
    records = [
        {**_verb(verb.entry), **_noun(entry)}
        for verb in deed_verbs()
        for name in verb.objects
        for entry in word_lists()[name].entries
    ]
    return Kind("deed", (Table(tuple(records)), _adjectives("any_look", field="any")), forms.DEED_FORMS)


def _place() -> Kind:
    parts = (entry.partition(" ") for entry in word_lists()["place"].entries)
    return Kind("place", (Table(tuple({"prep": prep, "place": place} for prep, _, place in parts)),), forms.PLACE_FORMS)


def _boat(name: str, types: str) -> Kind:
    lists = (("boat_quality", "quality"), ("boat_name", "boat"), (types, "type"), ("boat_look", "look"))
    return Kind(name, tuple(_adjectives(entries, field=field) for entries, field in lists), forms.BOAT_FORMS)


_BUILT: dict[str, Callable[[], Kind]] = {
    "person": _person,
    "deed": _deed,
    "place": _place,
    "boat": lambda: _boat("boat", "boat_type"),
    "rowing_boat": lambda: _boat("rowing_boat", "small_boat"),
}
