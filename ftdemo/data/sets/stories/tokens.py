"""Text cut into tokens and sentences: the same cuts for templates, stories and samples."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"a~|[A-Za-z]+(?:-[A-Za-z]+)*|'[a-z]+|\d+|\S")
_END = re.compile(r'[.!?]"?(?= +(.*))', re.DOTALL)


def tokens(text: str) -> tuple[str, ...]:
    """Words, numbers and signs, in order. A hyphened word is one token, a possessive `'s` one of its own."""
    return tuple(_TOKEN.findall(text))


def sentences(text: str) -> list[str]:
    """The sentences of a paragraph. No cut is made within double quotes, within brackets or before a small letter."""
    found, start = [], 0
    for end in _END.finditer(text):
        piece = text[start : end.end()]
        closed = piece.count('"') % 2 == 0 and piece.count("[") == piece.count("]")
        if closed and not end.group(1).lstrip("[^")[:1].islower():
            found.append(piece.strip())
            start = end.end()
    rest = text[start:].strip()
    return [*found, rest] if rest else found
