"""Records of what a message says, in several formats: JSON objects, labelled lines, a sentence."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass

from ftdemo.data.sets.high_street.messages import RARE, Message, message, one_of
from ftdemo.data.sets.high_street.untidy import untidy

Value = str | int | bool | None

_WORDS: Mapping[str, tuple[str, Mapping[str, Value]]] = {
    "topic": (
        "topic",
        {
            **{"delivery": "parcel", "damaged": "fault", "wrong_item": "mix-up", "return": "sending back"},
            **{"payment": "money", "product": "goods", "account": "login", "feedback": "opinion"},
        },
    ),
    "team": (
        "topic",
        {
            **{"delivery": "van crew", "damaged": "repair bench", "wrong_item": "packing room"},
            **{"return": "returns desk", "payment": "till", "product": "shop floor"},
            **{"account": "web team", "feedback": "front desk"},
        },
    ),
    "tray": (
        "topic",
        {
            **{"delivery": "A", "damaged": "B", "wrong_item": "C", "return": "D"},
            **{"payment": "E", "product": "F", "account": "G", "feedback": "H"},
        },
    ),
    "asks_for": (
        "wants",
        {
            **{"refund": "money back", "replacement": "a new one", "information": "an answer"},
            **{"change": "a change", "cancel": "to cancel", "none": "nothing"},
        },
    ),
    "next": (
        "wants",
        {
            **{"refund": "pay back", "replacement": "send again", "information": "write back"},
            **{"change": "change it", "cancel": "cancel it", "none": "file it"},
        },
    ),
    "when": ("hurry", {"high": "today", "normal": "this week", "low": "any time"}),
    "urgent": ("hurry", {"high": True, "normal": False, "low": False}),
}
"""Keys whose values are chosen from a list: the field that they go by, and the value for each of its values."""
_COPIED = {
    **{"item": "item", "thing": "item", "goods": "item", "ref": "order", "order_no": "order", "number": "order"},
    **{"name": "name", "customer": "name", "city": "city", "town": "city", "day": "day", "date": "date"},
    **{"price": "price", "amount": "price", "colour": "colour", "size": "size", "count": "count"},
}
"""Keys whose values stand in the message, and the field that they copy."""
_COMMON = ("item", "thing", "goods", "ref", "order_no", "number", "name", "city", *_WORDS)
"""Keys that are asked for whatever a message says; the others only where it says something."""


@dataclass(frozen=True)
class Form:
    """A format of records: its heading, whether it is JSON, and the keys."""

    heading: str
    is_json: bool
    keys: tuple[str, ...]
    names_keys: bool = False
    """Whether the keys are named before the record, because the heading alone does not say them."""

    def write(self, found: Message) -> str:
        """The record of a message, under the heading."""
        values = {key: value_of(key, found.fields) for key in self.keys}
        if self.is_json:
            return f"{self.heading}: {json.dumps(values, ensure_ascii=False)}"
        lines = [f"{label(key)}: {_word(value)}" for key, value in values.items()]
        return "\n".join((f"{self.heading}:", *lines))

    def suits(self, found: Message) -> bool:
        """Whether the message says one thing at most for each key."""
        return all(_field(key) in found.fields for key in self.keys)


FORMS = (
    Form("Slip", True, ("item", "ref")),
    Form("Card", True, ("topic", "team")),
    Form("Log", True, ("ref", "item", "topic")),
    Form("Note", False, ("item", "ref", "asks_for")),
    Form("Label", False, ("order_no", "goods")),
    Form("Tray card", True, ("tray", "urgent", "ref")),
    Form("Van list", True, ("name", "city", "item")),
    Form("Desk slip", False, ("name", "thing", "number")),
    Form("Till slip", True, ("price", "thing", "number")),
    Form("Job card", False, ("item", "team", "urgent")),
    Form("File", True, ("team", "item", "order_no", "next", "when")),
    Form("Entry", True, ("name", "goods", "order_no", "asks_for")),
    Form("Diary", False, ("city", "item", "next")),
    Form("To do", True, ("next", "item", "when")),
    Form("Sorting", False, ("topic", "when")),
    Form("Stock card", True, ("item", "count")),
)
_HEADINGS = ("Record", "Data", "Out", "JSON")
_LINE_HEADINGS = ("Record", "Lines", "Sheet")
_MESSAGE_HEADINGS = ("Message", "Message", "Customer", "Mail", "Text")
_NAMED_KEYS = 0.45
_SENTENCE = 0.12
_IS_JSON = 0.65
_SEVERAL = (1, 1, 1, 2, 2, 3)
"""How many messages one text has."""
_MAX_KEYS = 5
_TRIES = 4
"""After so many messages, one that says nothing about a rare field will do."""
SENTENCE_HEADING = "In short"
_PHRASES = {
    "refund": ("wants the money back", "for"),
    "replacement": ("wants a replacement", "for"),
    "information": ("wants an answer", "about"),
    "change": ("wants something changed", "with"),
    "cancel": ("wants to cancel", "and names"),
    "none": ("wants nothing", "and names"),
}
_QUESTIONS = (
    ("item", ("Which product is it about?", "What thing is meant?")),
    ("ref", ("What is the order number?", "Which order is it?")),
    ("name", ("Who is writing?", "What is the customer's name?")),
    ("city", ("Which town is named?", "What town does the message name?")),
    ("asks_for", ("What does the customer want?", "What is asked for?")),
    ("team", ("Which team should answer?", "Who should read this?")),
    ("when", ("How soon should we answer?", "When does it have to be done?")),
)
"""Questions about a message, by the key whose value answers them."""
_ASKED = 0.12
_NOT_SAID = "not said"
_HURRY = {"high": ", today", "normal": "", "low": ", in no hurry"}


def value_of(key: str, fields: Mapping[str, str | None]) -> Value:
    """What a record has under a key."""
    if key in _COPIED:
        value = fields[_COPIED[key]]
        return int(value) if value and key == "count" else value
    field, words = _WORDS[key]
    return words[fields[field] or ""]


def label(key: str) -> str:
    """A key as it begins a line."""
    return key.replace("_", " ").capitalize()


def record_text(chance: random.Random) -> str:
    """One to three messages, each followed by its record or by questions, all in one format."""
    count = one_of(_SEVERAL, chance)
    if chance.random() < _ASKED:
        found = [message(chance, ("order", "name", "city")) for _ in range(count)]
        return "\n\n".join(_shown(found, [_questions(each, chance) for each in found], chance))
    if chance.random() < _SENTENCE:
        found = [message(chance) for _ in range(count)]
        records = [f"{SENTENCE_HEADING}: {sentence(each)}" for each in found]
        return "\n\n".join(_shown(found, records, chance))
    form, first = a_form(chance)
    found = [first, *(_suited(form, chance) for _ in range(count - 1))]
    blocks = _shown(found, [form.write(each) for each in found], chance)
    return "\n\n".join((f"Keys: {', '.join(form.keys)}", *blocks) if form.names_keys else blocks)


def _questions(found: Message, chance: random.Random) -> str:
    """Two or three questions about a message, with their answers; at most one asks for what it does not say."""
    answers = {key: value_of(key, found.fields) for key, _ in _QUESTIONS if _field(key) in found.fields}
    said = [key for key, value in answers.items() if value]
    unsaid = [key for key, value in answers.items() if not value]
    keys = chance.sample(said, 2) + unsaid[: chance.randint(0, 1)]
    asked = dict(_QUESTIONS)
    return "\n".join(f"Question: {one_of(asked[key], chance)}\nAnswer: {answers[key] or _NOT_SAID}" for key in keys)


def written_text(chance: random.Random) -> str:
    """The other way round: a record, and a tidy message that says all of it."""
    if chance.random() < _SENTENCE:
        found = message(chance)
        return f"{SENTENCE_HEADING}: {sentence(found)}\n{one_of(_MESSAGE_HEADINGS, chance)}: {found.text}"
    form, found = a_form(chance)
    return f"{form.write(found)}\n{one_of(_MESSAGE_HEADINGS, chance)}: {found.text}"


def a_form(chance: random.Random) -> tuple[Form, Message]:
    """One of the forms with a heading of their own, or a list of keys; and a message that suits it."""
    if chance.random() >= _NAMED_KEYS:
        form = one_of(FORMS, chance)
        return form, _suited(form, chance)
    found = message(chance, chance.sample(("order", "name", "city"), 2))
    said = [key for key, field in _COPIED.items() if key not in _COMMON and found.fields.get(field)]
    keys = chance.sample((*_COMMON, *said, *said), chance.randint(2, _MAX_KEYS))
    is_json = chance.random() < _IS_JSON
    heading = one_of(_HEADINGS if is_json else _LINE_HEADINGS, chance)
    form = Form(heading, is_json, tuple(_one_each(keys)), names_keys=True)
    return form, found if form.suits(found) else _suited(form, chance)


def sentence(found: Message) -> str:
    """What a message says, in a sentence."""
    fields = found.fields
    phrase, about = _PHRASES[fields["wants"] or ""]
    item = f" {about} the {fields['item']}" if fields["item"] else ""
    order = f", order {fields['order']}" if fields["order"] else ""
    return f"{fields.get('name') or 'The customer'} {phrase}{item}{order}{_HURRY[fields['hurry'] or '']}."


def _shown(found: list[Message], records: list[str], chance: random.Random) -> list[str]:
    heading = one_of(_MESSAGE_HEADINGS, chance)
    return [f"{heading}: {untidy(each.text, chance)}\n{record}" for each, record in zip(found, records, strict=True)]


def _suited(form: Form, chance: random.Random) -> Message:
    """A message that suits a form, and with luck says the rare fields of it."""
    wanted = [_COPIED[key] for key in form.keys if key in _COPIED]
    rare = [field for field in wanted if field in RARE]
    tries = 0
    while True:
        tries += 1
        found = message(chance, wanted)
        if form.suits(found) and (tries >= _TRIES or all(found.fields[field] for field in rare)):
            return found


def _one_each(keys: list[str]) -> list[str]:
    """The keys without a second one for the same field and words."""
    kept: dict[str, str] = {}
    for key in keys:
        kept.setdefault(_COPIED.get(key, key), key)
    return list(kept.values())


def _field(key: str) -> str:
    return _COPIED[key] if key in _COPIED else _WORDS[key][0]


def _word(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value or "none")
