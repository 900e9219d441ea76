"""Telegraphic notes and the letter that says the same, and nothing else."""

from __future__ import annotations

import random

from ftdemo.data.sets.high_street.messages import one_of
from ftdemo.data.sets.high_street.scripts import of_kind
from ftdemo.data.sets.stories.grammar import Nodes, Scene, finish
from ftdemo.data.sets.stories.telling import set_scene

_LAYOUTS = (
    ("Notes: {}", "; ", "\n\nLetter: {}"),
    ("Notes:\n- {}", "\n- ", "\n\nReply:\n{}"),
    ("Jotted down: {}", ", ", "\nWritten out: {}"),
    ("Note: {}", " / ", "\nAnswer: {}"),
    ("* {}", "\n* ", "\n\n{}"),
    ("Agent's notes: {}", ". ", "\n\nTo the customer: {}"),
    ("Memo: {}", " - ", "\nText: {}"),
)
"""How notes begin, what is between two of them, and how the letter begins."""
_LABELS = (
    ("About", "Action", "More"),
    ("Matter", "Result", "Also"),
    ("First", "Then", "Last"),
    ("News", "Plan", "Note"),
)
"""What the lines of a labelled letter begin with; the last line has all further sentences."""
_LABELLED = 0.35
_KINDS = ("reply", "reply", "letter")
_ALWAYS = 4
"""So many notes a script gives; further ones come in half of the letters."""
_SMALL = 0.5
_SHUFFLED = 0.2


def reply_text(chance: random.Random) -> str:
    """Notes in one of several layouts, then the letter."""
    script = one_of(of_kind(one_of(_KINDS, chance)), chance)
    scene = set_scene(script, chance.random, lazy=True)
    pairs = []
    for number, block in enumerate(script.notes):
        if number < _ALWAYS - 1 or chance.random() < _SMALL:
            note, written = one_of(block, chance)
            pairs.append((_said(note, scene), _said(written, scene)))
    head, between, letter = one_of(_LAYOUTS, chance)
    jotted = [note for note, _ in pairs]
    if chance.random() < _SHUFFLED:
        chance.shuffle(jotted)
    return head.format(between.join(jotted)) + _letter(letter, [written for _, written in pairs], chance)


def _letter(layout: str, written: list[str], chance: random.Random) -> str:
    """Sentences as a paragraph, or as three labelled lines."""
    if chance.random() >= _LABELLED:
        return layout.format(" ".join(written))
    labels = one_of(_LABELS, chance)
    parts = (*written[:2], " ".join(written[2:]))
    lines = "\n".join(f"{label}: {part}" for label, part in zip(labels, parts, strict=True))
    return layout.replace(" {}", "\n{}").format(lines)


def _said(nodes: Nodes, scene: Scene) -> str:
    out: list[str] = []
    for node in nodes:
        node.write(out, scene)
    return finish("".join(out))
