"""Kinds of entities that texts speak of, such as persons, boats and nouns of one sort.

A kind is one or more tables of records and some forms. An entity is one record of each table; a form is a pattern over
their fields. Generator and checker both read these tables, and the checker holds a text to one entity for each role.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from ftdemo.data.sets.stories.lexicon import DeedVerb, WordList
from ftdemo.data.sets.stories.morphology import ing, past, plural, third
from ftdemo.data.sets.stories.tokens import tokens

Record = Mapping[str, str]
Entity = tuple[Record, ...]
_FIELD = re.compile(r"(<\w+>)")
NOUN_FORMS = {
    "": "<noun>",
    "s": "<nouns>",
    "adj": "<adj>",
    "own": "<adj> <noun>",
    "a": "a~ <adj> <noun>",
    "an": "a~ <noun>",
    "the": "the <noun>",
    "full": "the <adj> <noun>",
    "many": "<adj> <nouns>",
}
VERB_FORMS = {"": "<past>", "past": "<past>", "base": "<base>", "ing": "<ing>", "third": "<third>"}
DEED_FORMS = {
    "": "<past> the <noun>",
    "past": "<past> a~ <any> <noun>",
    "base": "<base> the <noun>",
    "ing": "<ing> a~ <any> <noun>",
    "doing": "<ing> the <noun>",
    "verb": "<base>",
    "verbing": "<ing>",
    "third": "<third> <nouns>",
    "the": "the <noun>",
    "an": "a~ <noun>",
    "a": "a~ <any> <noun>",
    "noun": "<noun>",
}
"""The forms in which a text may name an entity: patterns over the fields of its kind's records. `a~` is `a` or `an`."""


@dataclass(frozen=True, slots=True)
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

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields."""
        return tuple(self.records[0])

    def owners(self, name: str, first: str) -> Iterable[tuple[tuple[str, ...], frozenset[int]]]:
        """Every token run that begins with `first` and may be a field of that name, with the records that have it."""
        return self._index[name].get(first, ())

    @cached_property
    def _index(self) -> dict[str, dict[str, list[tuple[tuple[str, ...], frozenset[int]]]]]:
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
        if len(self.tables) == 1:  # the most common case, and most of the time of the stream is spent here
            return (self.tables[0].pick(random),)
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
        owner = next(number for number, table in enumerate(self.tables) if name in table.fields)
        return Field(owner, name)


class Kinds:
    """The kinds of one corpus by their names, each made once."""

    def __init__(
        self,
        lists: Mapping[str, WordList],
        tables: Mapping[str, Callable[[], tuple[Record, ...]]],
        built: Mapping[str, Callable[[], Kind]],
    ) -> None:
        """Word lists, tables of figures, and functions that build the other kinds; the built ones come first."""
        self._lists = lists
        self._tables = tables
        self._built = built
        self._made: dict[str, Kind] = {}

    def __call__(self, name: str) -> Kind:
        """The kind of that name.

        Raises:
            ValueError: If it is neither built, nor a table, nor a word list.
        """
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Kind:
        if name in self._built:
            return self._built[name]()
        if name in self._tables:
            return kind_of_records(name, self._tables[name]())
        if name not in self._lists:
            raise ValueError(f"no kind {name!r}: neither built nor a word list.")
        return _kind_of_list(self._lists[name], self._lists)


def kind_of_records(name: str, records: tuple[Record, ...]) -> Kind:
    """A kind of one table, with a form for each field; the first field is also what the bare name stands for."""
    patterns = {field: f"<{field}>" for field in records[0]}
    return Kind(name, (Table(records),), {"": next(iter(patterns.values())), **patterns})


def _kind_of_list(words: WordList, lists: Mapping[str, WordList]) -> Kind:
    if words.subject == "verbs":
        return Kind(words.name, (Table(tuple(verb_record(entry) for entry in words.entries)),), VERB_FORMS)
    if words.adjectives:
        nouns = Table(tuple(noun_record(entry) for entry in words.entries), skewed=True)
        return Kind(words.name, (nouns, table_of(lists, *words.adjectives)), NOUN_FORMS)
    table = Table(tuple({"word": entry} for entry in words.entries), skewed=True)
    return Kind(words.name, (table,), {"": "<word>", "a": "a~ <word>"})


def table_of(lists: Mapping[str, WordList], *names: str, field: str = "adj") -> Table:
    """The entries of some lists as records of one field."""
    found = dict.fromkeys(entry for name in names for entry in lists[name].entries)
    return Table(tuple({field: entry} for entry in found), skewed=True)


def noun_record(entry: str) -> dict[str, str]:
    """A noun and its plural; an odd plural follows a slash."""
    noun, _, odd = entry.partition("/")
    return {"noun": noun, "nouns": odd or plural(noun)}


def verb_record(entry: str) -> dict[str, str]:
    """A verb and its forms; an odd past form follows a slash."""
    base, _, odd = entry.partition("/")
    return {"base": base, "past": odd or past(base), "ing": ing(base), "third": third(base)}


def deed(verbs: tuple[DeedVerb, ...], lists: Mapping[str, WordList]) -> Kind:
    """What people do to things: a verb, an object that suits it, and an adjective for any thing."""
    records = [
        {**verb_record(verb.entry), **noun_record(entry)}
        for verb in verbs
        for name in verb.objects
        for entry in lists[name].entries
    ]
    return Kind("deed", (Table(tuple(records)), table_of(lists, "any_look", field="any")), DEED_FORMS)
