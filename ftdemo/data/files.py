"""Files that rows are read from: JSON lines, tables with a heading, plain text. What kind it is, the file says itself.

A file is read as a stream of values, each with the line that it begins on; what the values mean is for `rows`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftdemo.errors import DataError

SHAPES = (
    'Each line should be {"messages": [{"role": "user", "content": …}, {"role": "assistant", "content": …}]} '
    'or {"prompt": …, "completion": …}, or, for texts, {"text": …} or {"text": …, "label": …}.'
)
_COLUMNS = "The first line should name the columns: prompt,completion or text or text,label."
_MAX_LINE_BYTES = 2**20
_TABLES = {".csv": ",", ".tsv": "\t"}
_TEXTS = (".txt", ".md")
SUFFIXES = (".jsonl", *_TABLES, *_TEXTS)
"""Endings that a file of rows may have; one with another is read as lines of JSON."""


def suffix_of(text: str) -> str:
    """The ending that a file of this text should have: of what somebody pasted."""
    first = text.lstrip().partition("\n")[0]
    if first.startswith(("{", "[")):
        return ".jsonl"
    for suffix, comma in _TABLES.items():
        if {"completion", "text"} & {name.strip().lower() for name in first.split(comma)}:
            return suffix
    return ".txt"


def values(path: Path) -> Iterator[tuple[int, Any]]:
    """What each row of a file holds, as a parsed line of JSON would, and the line it begins on, from 1.

    Of a table each row is an object with the columns' names as keys; a plain text is parted at its empty lines. A row
    that cannot be made out is `Broken`, and those after it follow.

    Raises:
        DataError: If the file cannot be read on: file and line are named.
    """
    suffix = path.suffix.lower()
    if suffix in _TABLES:
        yield from _table(path, _TABLES[suffix])
    elif suffix in _TEXTS:
        yield from _paragraphs(path)
    else:
        for number, line in lines(path):
            if line.strip():
                yield number, _from_json(line)


def count(path: Path) -> int:
    """How many rows a file has, good and bad ones.

    Raises:
        DataError: As `values` does.
    """
    if path.suffix.lower() in (*_TABLES, *_TEXTS):
        return sum(1 for _ in values(path))
    return sum(1 for _, line in lines(path) if line.strip())


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, from 1.

    Raises:
        DataError: If the file cannot be read, is no UTF-8, or a line is longer than a mebibyte.
    """
    try:
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(_MAX_LINE_BYTES + 1):
                number += 1
                if len(raw) > _MAX_LINE_BYTES:
                    raise DataError(f"{path}:{number}: the line is longer than 1 MiB.", "Write one example a line.")
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        where = f"{path}:{number}: byte {error.start + 1} is not UTF-8."
        raise DataError(where, "Save the file as UTF-8 text.") from None
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror or error}."
        raise DataError(what, "Check the path and its permissions.") from None


class Broken:
    """A row that could not be made out."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def _from_json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "msg", error)
        return Broken(f"not valid JSON ({reason})")


def _table(path: Path, comma: str) -> Iterator[tuple[int, Any]]:
    read = csv.reader((line for _, line in lines(path)), delimiter=comma, strict=True)
    try:
        names = [name.strip().lower() for name in next(read, [])]
        if not {"completion", "text"} & set(names):
            found = ", ".join(names)[:200] or "none"
            raise DataError(f"{path}:1: no column is called completion or text; the first line has: {found}.", _COLUMNS)
        begins = read.line_num + 1
        for cells in read:
            if any(cell.strip() for cell in cells):
                wrong = f"{len(cells)} cells, but {len(names)} columns" if len(cells) != len(names) else ""
                yield begins, Broken(wrong) if wrong else dict(zip(names, cells, strict=True))
            begins = read.line_num + 1
    except csv.Error as error:
        what = f"{path}:{read.line_num}: the table cannot be read ({error})."
        raise DataError(what, "Put cells that hold commas, quotes or line breaks in double quotes.") from None


def _paragraphs(path: Path) -> Iterator[tuple[int, Any]]:
    begins, paragraph = 1, ""
    for number, line in lines(path):
        if line.strip():
            begins = begins if paragraph else number
            paragraph += line
        elif paragraph:
            yield begins, {"text": paragraph.strip()}
            paragraph = ""
    if paragraph:
        yield begins, {"text": paragraph.strip()}
