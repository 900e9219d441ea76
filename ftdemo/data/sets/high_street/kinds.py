"""The kinds of the high street: people, what Pennyfield sells, order numbers and places."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, partial

from ftdemo.data.sets.high_street import figures
from ftdemo.data.sets.high_street.lexicon import WORDS, word_lists
from ftdemo.data.sets.stories.kinds import Kind, Kinds, Record, Table, deed, table_of
from ftdemo.data.sets.stories.lexicon import read_deed_verbs
from ftdemo.data.sets.stories.morphology import article, plural

ITEM_LISTS = ("electric", "soft", "hard", "furniture")
"""The word lists that together are all that Pennyfield sells."""
_CANONICAL = 8
"""How often a product has its own name for each time that it has one of the customers' words for it."""
_FIRST_ORDER, _LAST_ORDER = 10_000, 99_999

PERSON_FORMS = {
    "": "<name>",
    "s": "<name>'s",
    "he": "<he>",
    "him": "<him>",
    "his": "<his>",
    "himself": "<himself>",
    "child": "<child>",
    "kin": "<kin>",
    "job": "<job>",
    "nature": "<nature>",
    "the": "the <job>",
    "an": "a~ <job>",
    "a": "a~ <nature> <job>",
}
ITEM_FORMS = {
    "": "<noun>",
    "name": "<name>",
    "s": "<nouns>",
    "an": "<an>",
    "new": "<new>",
    "another": "<another>",
    "one": "<one>",
    "is": "<is>",
    "isnt": "<isnt>",
    "was": "<was>",
    "has": "<has>",
    "does": "<does>",
    "it": "<it>",
    "them": "<them>",
    "its": "<its>",
    "this": "<this>",
    "that": "<that>",
    "costs": "<costs>",
    "comes": "<comes>",
    "stands": "<stands>",
    "weighs": "<weighs>",
    "fits": "<fits>",
    "works": "<works>",
    "stays": "<stays>",
    "material": "<material>",
}
ORDER_FORMS = {"": "<n>", "n": "<n>", "hash": "#<n>", "pf": "PF<n>", "small": "pf-<n>", "no": "no. <n>"}
PLACE_FORMS = {"": "<place>", "in": "<prep> <place>", "the": "<place>"}
_ODD_PLURALS = {
    "book shelf": "book shelves",
    "shoe shelf": "shoe shelves",
    "shelf": "shelves",
    "bookshelf": "bookshelves",
}
_ONE = {
    **{"one": "one", "is": "is", "isnt": "isn't", "was": "was", "has": "has", "does": "does", "it": "it", "them": "it"},
    **{"its": "its", "this": "this", "that": "that", "costs": "costs", "comes": "comes", "stands": "stands"},
    **{"weighs": "weighs", "fits": "fits", "works": "works", "stays": "stays"},
}
_SEVERAL = {
    **{"one": "ones", "is": "are", "isnt": "aren't", "was": "were", "has": "have", "does": "do", "it": "they"},
    **{"them": "them", "its": "their", "this": "these", "that": "those", "costs": "cost", "comes": "come"},
    **{"stands": "stand", "weighs": "weigh", "fits": "fit", "works": "work", "stays": "stay"},
}
_SHE = {"he": "she", "him": "her", "his": "her", "himself": "herself", "child": "girl"}
_HE = {"he": "he", "him": "him", "his": "his", "himself": "himself", "child": "boy"}


@cache
def kinds() -> Kinds:
    """Every kind by its name."""
    built: dict[str, Callable[[], Kind]] = {
        "person": _person,
        "deed": lambda: deed(read_deed_verbs(WORDS), word_lists()),
        "place": _place,
        "order": lambda: Kind("order", (Orders((), False),), ORDER_FORMS),
        "item": lambda: _items("item", ITEM_LISTS),
        "product": lambda: _items("product", ITEM_LISTS, said=False),
    }
    for name in ITEM_LISTS:
        built[name] = partial(_items, name, (name,))
    return Kinds(word_lists(), figures.TABLES, built)


@dataclass(frozen=True, eq=False)
class Orders(Table):
    """All order numbers of five digits. They are made when asked for, because a table of them would be large."""

    def pick(self, random: Callable[[], float]) -> Record:
        """One number, by chance."""
        return {"n": str(_FIRST_ORDER + int(random() * (_LAST_ORDER - _FIRST_ORDER + 1)))}

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields."""
        return ("n",)

    def owners(self, name: str, first: str) -> Iterable[tuple[tuple[str, ...], frozenset[int]]]:
        """The number itself, where a token is one of five digits."""
        is_order = first.isdecimal() and _FIRST_ORDER <= int(first) <= _LAST_ORDER
        return [((first,), frozenset({int(first)}))] if is_order else []


def product_names() -> tuple[str, ...]:
    """The names of all products."""
    return tuple(_names_of(entry)[0] for name in ITEM_LISTS for entry in word_lists()[name].entries)


def _names_of(entry: str) -> tuple[str, ...]:
    return tuple(entry.removeprefix("+").split("/"))


def _items(kind_name: str, lists: tuple[str, ...], *, said: bool = True) -> Kind:
    records = [
        record
        for name in lists
        for entry in word_lists()[name].entries
        for material in word_lists()[f"{name}_material"].entries
        for record in _item_records(entry, material, said=said)
    ]
    return Kind(kind_name, (Table(tuple(records)),), ITEM_FORMS)


def _item_records(entry: str, material: str, *, said: bool) -> list[Record]:
    name, *others = _names_of(entry)
    nouns = [name] * _CANONICAL + others if said else [name]
    return [{**_item(name, noun, several=entry.startswith("+")), "material": material} for noun in nouns]


def _item(name: str, noun: str, *, several: bool) -> dict[str, str]:
    if several:
        articles = {"nouns": noun, "an": noun, "new": f"new {noun}", "another": f"other {noun}"}
        return {"name": name, "noun": noun, **articles, **_SEVERAL}
    articles = {
        "nouns": plural_of(noun),
        "an": f"{article(noun)} {noun}",
        "new": f"a new {noun}",
        "another": f"another {noun}",
    }
    return {"name": name, "noun": noun, **articles, **_ONE}


def plural_of(noun: str) -> str:
    """The plural of a product's name; of *thing for drying clothes*, that of its head."""
    head, between, rest = next(
        (noun.partition(between) for between in (" for ", " of ", " that ") if between in noun), (noun, "", "")
    )
    return plural(head) + between + rest if head not in _ODD_PLURALS else _ODD_PLURALS[head] + between + rest


def _people(gender: str) -> list[Record]:
    words = _SHE if gender == "girl" else _HE
    return [
        {"name": name, "kin": kin, **words}
        for name in word_lists()[f"{gender}_name"].entries
        for kin in word_lists()[f"{gender}_kin"].entries
    ]


def _person() -> Kind:
    rest = [table_of(word_lists(), name, field=name) for name in ("job", "nature")]
    return Kind("person", (Table(tuple(_people("girl") + _people("boy"))), *rest), PERSON_FORMS)


def _place() -> Kind:
    parts = (entry.partition(" ") for entry in word_lists()["place"].entries)
    records = tuple({"prep": prep, "place": place} for prep, _, place in parts)
    return Kind("place", (Table(records),), PLACE_FORMS)
