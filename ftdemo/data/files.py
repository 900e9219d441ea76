"""Files that rows are read from: JSON, tables with a heading, Parquet, plain text. What kind it is, the file says.

A file is read as a stream of values, each with the line that it begins on; what the values mean is for `rows`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import TextIOBase
from pathlib import Path
from typing import Any

from ftdemo.data import hub
from ftdemo.data.decode import MOST_LINE_BYTES, as_far_as_text, as_text, first_bytes, lines
from ftdemo.errors import DataError

SHAPES = (
    'Each row should be {"messages": [{"role": "user", "content": …}, {"role": "assistant", "content": …}]} '
    'or {"prompt": …, "completion": …}, {"instruction": …, "input": …, "output": …} or {"conversations": [{"from": '
    '"human", "value": …}, {"from": "gpt", "value": …}]}; or, for texts, {"text": …} or {"text": …, "label": …}.'
)
_COLUMNS = (
    "The first line should name the columns: prompt,completion or instruction,output or text or text,label. "
    "Where they have other names: `ftdemo check-data FILE --map prompt=question --map completion=reply --fix COPY`."
)
_TELLING = {"completion", "output", "text"}
"""Columns, one of which every table has that can be used."""
_TABLES = {".csv": ",", ".tsv": "\t"}
_TEXTS = (".txt", ".md")
_PARQUET = b"PAR1"
SUFFIXES = (".jsonl", ".json", ".parquet", *_TABLES, *_TEXTS)
"""Endings that a file of rows may have, each with or without .gz; one with another is read as lines of JSON."""
_IF_TEXT = "if this is a plain text, let the file's name end in .txt"
_BLANKS = re.compile(r"\s*")
_JSON = json.JSONDecoder()
_CHUNK = 2**16
"""Letters that are read at once."""
_BATCH = 256
"""Rows that are read at once."""


def suffix_of(text: str) -> str:
    """The ending that a file of this text should have: of what somebody pasted."""
    first = text.lstrip().partition("\n")[0]
    if first.startswith(("{", "[")):
        return ".jsonl"
    for suffix, comma in _TABLES.items():
        if _tells(first.split(comma), {}):
            return suffix
    return ".txt"


def values(path: Path, columns: Mapping[str, str] | None = None) -> Iterator[tuple[int, Any]]:
    """What each row of a file holds, as a parsed line of JSON would, and the line it begins on, from 1.

    Of a table each row is an object with the columns' names as keys; a plain text is parted at its empty lines. A row
    that cannot be made out is `Broken`, and those after it follow. Of a folder, the parts of its text and Markdown
    files are given in the order of their names, and numbered from the first to the last.

    Args:
        path: The file, or a folder of texts; or a data set on the Hub, ``owner/name``.
        columns: Our names for the file's own keys or columns, where they differ.

    Raises:
        DataError: If the file cannot be read on: file and line are named.
    """
    if hub.is_id(str(path)):
        yield from enumerate(_renamed(hub.iterate_rows(str(path)), columns or {}), 1)
        return
    if path.is_dir():
        parts = (value for file in texts_in(path) for _, value in values(file))
        yield from enumerate(parts, 1)
        return
    is_table = _suffix(path) in _TABLES  # of a table the names are read in small letters
    ours = {name.lower() if is_table else name: key for name, key in (columns or {}).items()}
    for number, value in _values(path, ours):
        [renamed] = _renamed([value], ours)
        yield number, renamed


def _renamed(found: Iterable[Any], ours: Mapping[str, str]) -> Iterator[Any]:
    """Rows with our names for their keys."""
    for value in found:
        renamed = ours and isinstance(value, dict)
        yield {ours.get(key, key): held for key, held in value.items()} if renamed else value


def texts_in(folder: Path) -> list[Path]:
    """The text and Markdown files in a folder and those within it, in the order of their names.

    Raises:
        DataError: If there are none.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _TEXTS and file.is_file())
    if not files:
        raise DataError(
            f"{folder} is a folder in which no file ends in {' or '.join(_TEXTS)}.",
            "Name a file of rows, or a folder of texts, or one with a train.jsonl and, to judge by, a heldout.jsonl.",
        )
    return files


def _values(path: Path, columns: Mapping[str, str]) -> Iterator[tuple[int, Any]]:
    suffix = _suffix(path)
    begins = first_bytes(path)
    if begins.startswith(_PARQUET):
        yield from _parquet(path)
    elif suffix in _TABLES:
        yield from _table(path, _separator(as_far_as_text(begins).lstrip(), _TABLES[suffix], columns), columns)
    elif suffix in _TEXTS:
        yield from _paragraphs(path)
    elif _is_list(begins, suffix):
        yield from _list(path)
    else:
        for number, line in lines(path):
            if line.strip():
                value = _from_json(line)
                is_other = isinstance(value, Broken) and suffix not in SUFFIXES
                yield number, Broken(f"{value.reason}; {_IF_TEXT}") if is_other else value


def count_rows(path: Path) -> int:
    """How many rows a file has, good and bad ones.

    Raises:
        DataError: As `values` does.
    """
    if hub.is_id(str(path)):
        return hub.number_of_rows(str(path))
    if path.is_dir():
        return sum(count_rows(file) for file in texts_in(path))
    begins, suffix = first_bytes(path), _suffix(path)
    if begins.startswith(_PARQUET):
        return int(_opened_parquet(path).metadata.num_rows)
    if suffix in (*_TABLES, *_TEXTS) or _is_list(begins, suffix):
        return sum(1 for _ in values(path))
    return sum(1 for _, line in lines(path) if line.strip())


def _suffix(path: Path) -> str:
    """A file's ending, in small letters; of one that is packed, the ending before .gz."""
    *_, before, last = ["", "", *(suffix.lower() for suffix in path.suffixes)]
    return before if last == ".gz" else last


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


def _tells(names: Iterable[str], columns: Mapping[str, str]) -> bool:
    """Whether one of these names of columns makes a table one that can be used."""
    plain = (name.strip().lower() for name in names)
    return not _TELLING.isdisjoint(columns.get(name, name) for name in plain)


def _separator(begins: str, usual: str, columns: Mapping[str, str]) -> str:
    """What stands between a table's cells: the first sign that makes a known name of the first line."""
    first = begins.partition("\n")[0]
    for sign in (usual, ",", ";", "\t"):
        with suppress(csv.Error):
            names = next(csv.reader([first], delimiter=sign), [])
            if _tells(names, columns):
                return sign
    return usual


def _table(path: Path, comma: str, columns: Mapping[str, str]) -> Iterator[tuple[int, Any]]:
    read = csv.reader((line for _, line in lines(path)), delimiter=comma, strict=True)
    try:
        names = [name.strip().lower() for name in next(read, [])]
        if not _tells(names, columns):
            found = ", ".join(names)[:200] or "none"
            told = ", ".join(sorted(_TELLING))
            raise DataError(f"{path}:1: no column is called any of {told}; the first line has: {found}.", _COLUMNS)
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


def _is_list(begins: bytes, suffix: str) -> bool:
    """Whether a file is one list of rows, and not a row a line, one of which may be a list by mistake."""
    text = as_far_as_text(begins).lstrip()
    if not text.startswith("["):
        return False
    first, newline, _ = text.partition("\n")
    return suffix == ".json" or not newline or isinstance(_from_json(first), Broken)


def _list(path: Path) -> Iterator[tuple[int, Any]]:
    """The elements of a list in JSON, which is never held as a whole."""
    with as_text(path) as file:
        letters = _Letters(file)
        letters.next_sign()
        letters.pass_over(1)
        sign = "," if letters.next_sign() != "]" else ""
        while sign == ",":
            letters.next_sign()
            line = letters.line
            try:
                value = letters.value()
            except (ValueError, RecursionError):
                what = f"{path}:{line}: here the list breaks off, or is not valid JSON."
                raise DataError(what, "Mend it, or write one object a line.") from None
            yield line, value
            sign = letters.next_sign()
            letters.pass_over(1)
            if sign not in ("]", ","):
                what = f"{path}:{letters.line}: after a row a comma is expected, or a bracket that ends the list."
                raise DataError(what, "Mend it, or write one object a line.")


class _Letters:
    """A text of which no more is held than the value in hand. `line` is where it stands, from 1."""

    def __init__(self, file: TextIOBase) -> None:
        self.line = 1
        self._file = file
        self._text, self._at = "", 0

    def next_sign(self) -> str:
        """Stand before the next letter that is no blank. It is empty at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            self.pass_over(blanks.end() - self._at if blanks else 0)
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def pass_over(self, count: int) -> None:
        """Stand so many letters farther on."""
        self.line += self._text.count("\n", self._at, self._at + count)
        self._at += count

    def value(self) -> Any:
        """The value that begins here.

        Raises:
            ValueError: If there is none.
            RecursionError: If it is nested too deeply.
        """
        while True:
            try:
                value, end = _JSON.raw_decode(self._text, self._at)
            except ValueError:
                if not self._read_on():
                    raise
                continue
            if end < len(self._text) or not self._read_on():  # a number may go on
                self.pass_over(end - self._at)
                return value

    def _read_on(self) -> bool:
        """Have more of the text. There is no more at its end, and for a value as long as no line may be."""
        piece = self._file.read(_CHUNK) if len(self._text) - self._at <= MOST_LINE_BYTES else ""
        if piece:
            self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    number = 0
    with _arrow_errors(path):
        for batch in _opened_parquet(path).iter_batches(batch_size=_BATCH):
            for row in batch.to_pylist():
                number += 1
                yield number, row


def _opened_parquet(path: Path) -> Any:
    with _arrow_errors(path):
        from pyarrow import parquet

        return parquet.ParquetFile(path)


@contextmanager
def _arrow_errors(path: Path) -> Iterator[None]:
    try:
        import pyarrow
    except ModuleNotFoundError:
        what = f"{path} is a Parquet file, and there is no pyarrow, which reads it."
        raise DataError(what, "Run `pip install 'ftdemo[parquet]'`.") from None
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        what = f"{path}: what begins as a Parquet file cannot be read on ({str(error).splitlines()[0]})."
        raise DataError(what, "Fetch or write the file again.") from None
