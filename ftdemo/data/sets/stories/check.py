"""Whether a sentence is one that the grammar of the scripts can make: a chart parser over the generator's own rules.

It reads the templates, word lists and tables that the texts are made from, so the two cannot drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property

from ftdemo.data.sets.stories.grammar import Node, Nodes, Rule, Slot, Text, parse
from ftdemo.data.sets.stories.kinds import Field
from ftdemo.data.sets.stories.morphology import article
from ftdemo.data.sets.stories.scripts import Library, Script
from ftdemo.data.sets.stories.tokens import sentences, tokens

Bindings = dict[tuple[str, int], frozenset[int]]
"""For a role and a table of its kind: the records that may still be meant."""
State = tuple[int, Bindings]
"""A position in the sentence, and what is bound on the way to it."""

_BAD_SPACE = re.compile(r" [.,;:!?']|  |^ | $|,[^\s\d\"]")
_OPENING = re.compile(r'"?[A-Z0-9£]')
_OPEN_QUOTE = '"'


@dataclass(slots=True)
class Sentence:
    """A sentence as the parser sees it, with the chart of what has been found in it."""

    words: tuple[str, ...]
    readings: tuple[frozenset[str], ...]
    """What each token may stand for: itself and, where a capital may be owed to its place, with a small letter."""
    chart: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    """For a phrase rule or a kind's form, and a start: every end found."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A sentence template, and the tokens that every sentence of it holds."""

    nodes: Nodes
    needs: frozenset[str]


@dataclass(frozen=True)
class Checker:
    """Knows the sentences of a library's scripts of some kinds."""

    library: Library
    kinds: tuple[str, ...]

    def parses(self, sentence: str) -> bool:
        """Whether some sentence template of these kinds makes exactly this sentence.

        Words, agreement, articles, capitals, quotation and the sentence's own names and sums are held to the grammar.
        What goes on from sentence to sentence is not looked at.
        """
        if not _OPENING.match(sentence) or _BAD_SPACE.search(sentence):
            return False
        read = _read(sentence)
        held = frozenset().union(*read.readings)
        return any(
            end == len(read.words)
            for pattern in self._patterns
            if pattern.needs <= held
            for end, _ in _run(pattern.nodes, read, [(0, {})])
        )

    @cached_property
    def _patterns(self) -> tuple[Pattern, ...]:
        found: dict[Nodes, Pattern] = {}
        for script in self.library.scripts:
            for template in _templates(script) if script.kind in self.kinds else ():
                nodes = parse(template, script.names)
                found.setdefault(nodes, Pattern(nodes, _needs(nodes)))
        return tuple(found.values())


def _read(sentence: str) -> Sentence:
    words = tokens(sentence)
    readings = []
    for place, word in enumerate(words):
        opens = place == 0 or (words[place - 1] == _OPEN_QUOTE and words[:place].count(_OPEN_QUOTE) % 2 == 1)
        readings.append(frozenset({word, word[0].lower() + word[1:]} if opens else {word}))
    return Sentence(words, tuple(readings))


def _templates(script: Script) -> Iterator[str]:
    return (text for line in script.said for text in sentences(line))


def _needs(nodes: Nodes) -> frozenset[str]:
    texts = " ".join(node.text for node in nodes if isinstance(node, Text))
    return frozenset(token for token in tokens(texts) if token != "a~")


def _run(nodes: Nodes, read: Sentence, states: list[State]) -> list[State]:
    for node in nodes:
        states = [after for state in states for after in _step(node, read, state)]
        if not states:
            break
    return states


def _step(node: Node, read: Sentence, state: State) -> list[State]:
    if isinstance(node, Text):
        return _text(node.text, read, state)
    if isinstance(node, Slot):
        return _slot(node, read, state)
    if isinstance(node, Rule):
        return [(end, state[1]) for end in _rule_ends(node, read, state[0])]
    options: tuple[Nodes, ...] = node.options
    return [after for option in options for after in _run(option, read, [state])]


@cache
def _tokens_of(text: str) -> tuple[str, ...]:
    return tokens(text)


def _text(text: str, read: Sentence, state: State) -> list[State]:
    place, bound = state
    for token in _tokens_of(text):
        if place >= len(read.words) or not _fits(token, read, place):
            return []
        place += 1
    return [(place, bound)]


def _fits(token: str, read: Sentence, place: int) -> bool:
    if token != "a~":
        return token in read.readings[place]
    return place + 1 < len(read.words) and article(read.words[place + 1]) in read.readings[place]


def _slot(slot: Slot, read: Sentence, state: State) -> list[State]:
    if slot.role:
        return _form(slot, read, state)
    key = (id(slot), state[0])
    if key not in read.chart:
        read.chart[key] = [end for end, _ in _form(slot, read, (state[0], {}))]
    return [(end, state[1]) for end in read.chart[key]]


def _form(slot: Slot, read: Sentence, state: State) -> list[State]:
    states = [state]
    for part in slot.pattern:
        if isinstance(part, str):
            states = [after for found in states for after in _text(part, read, found)]
        else:
            states = [after for found in states for after in _field(slot, part, read, found)]
    return states


def _field(slot: Slot, part: Field, read: Sentence, state: State) -> list[State]:
    place, bound = state
    if place >= len(read.words):
        return []
    key = (slot.role, part.table)
    table = slot.kind.tables[part.table]
    after = []
    for first in read.readings[place]:
        for run, owners in table.owners(part.name, first):
            end = place + len(run)
            if read.words[place + 1 : end] == run[1:]:
                left = owners & bound[key] if key in bound else owners
                if left:
                    after.append((end, {**bound, key: left}))
    return after


def _rule_ends(rule: Rule, read: Sentence, place: int) -> list[int]:
    key = (id(rule.options), place)
    if key not in read.chart:
        states = (_run(option, read, [(place, {})]) for option in rule.options)
        read.chart[key] = sorted({end for found in states for end, _ in found})
    return read.chart[key]
