"""Files of rows: JSON, tables with a heading, Parquet, plain text. The content decides the format, then the name.

A file is read as a stream of values, each with the line that it begins on; `rows` decides what the values mean.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ftdemo.data import hub
from ftdemo.data.blank import is_blank
from ftdemo.data.decode import DecodedFile, open_file
from ftdemo.errors import DataError

SHAPES = (
    'Each example should be {"messages": [{"role": "user", "content": …}, {"role": "assistant", "content": …}]} '
    'or {"prompt": …, "completion": …}, {"instruction": …, "input": …, "output": …} or {"conversations": [{"from": '
    '"human", "value": …}, {"from": "gpt", "value": …}]}; or, for texts, {"text": …} or {"text": …, "label": …}.'
)
_COLUMNS = (
    "The first line should name the columns: prompt,completion or instruction,output or text or text,label. "
    "Where they have other names: `ftdemo check-data FILE --map prompt=question --map completion=reply --fix COPY`."
)
_KNOWN_COLUMNS = {"completion", "output", "text"}
"""Every table that can be used has one of these columns."""
_TABLES = {".csv": ",", ".tsv": "\t"}
_TEXTS = (".txt", ".md")
_PARQUET = b"PAR1"
SUFFIXES = (".jsonl", ".json", ".parquet", *_TABLES, *_TEXTS)
"""Endings that a file of rows may have, each with or without .gz; a file with another is read as lines of JSON."""
_IF_TEXT = "if this is a plain text, let the file's name end in .txt"
_REPAIR = "Fix it, or write one JSON object per line."
_BLANKS = re.compile(r"\s*")
_JSON = json.JSONDecoder()
_EXCEL = re.compile(r'\s*"?sep=(.)"?\s*', re.IGNORECASE)
"""The line by which Excel is told, before a table, what separates its cells."""
_MAX_CELL = 2**20
"""Characters of a cell: as many as bytes of a line. Python's own limit, 131,072, is below what people have."""
_PARQUET_ROWS = 256
"""Rows of Parquet that are decoded at once."""


class Broken:
    """A row that could not be parsed."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def with_home(path: str) -> str:
    """A path as it was typed, with a ``~`` at its start replaced by the user's home."""
    begins = path == "~" or path.startswith(("~/", f"~{os.sep}"))  # ~$a.csv is another file
    return f"{Path.home()}{path[1:]}" if begins else path


def suffix_of(text: str) -> str:
    """The ending that a file with this text should have, for text that somebody pasted."""
    first, _, rest = text.lstrip().partition("\n")
    if first.startswith(("{", "[")):
        return ".jsonl"
    if _EXCEL.fullmatch(first):
        return ".csv" if _is_heading(rest.partition("\n")[0].split(_excel_separator(first)), {}) else ".txt"
    for suffix, separator in _TABLES.items():
        if _is_heading(first.split(separator), {}):
            return suffix
    return ".txt"


def values(path: Path, columns: Mapping[str, str] | None = None) -> Iterator[tuple[int, Any]]:
    """The value of each row of a file, as a parsed line of JSON would be, and the line it begins on, from 1.

    A row of a table is an object with the columns' names as keys; a plain text is split at its empty lines. A row that
    cannot be parsed is `Broken`, and those after it follow. A folder gives the paragraphs of its text and Markdown
    files in the order of their names, numbered from the first to the last.

    Only a list in JSON, or objects over several lines, are held in memory while they are read, as one text; of all
    else, one row is held.

    Args:
        path: The file, or a folder of texts; or a data set on the Hub, ``owner/name``.
        columns: Our names for the file's own keys or columns, where they differ.

    Raises:
        DataError: If the file cannot be read any further: file and line are named.
    """
    columns = columns or {}
    if hub.is_id(str(path)):
        yield from enumerate((_renamed(value, columns) for value in hub.iterate_rows(str(path))), 1)
    elif path.is_dir():
        yield from enumerate((value for file in texts_in(path) for _, value in values(file)), 1)
    else:
        if _suffix(path) in _TABLES:  # whose names are read in lower case
            columns = {theirs.lower(): ours for theirs, ours in columns.items()}
        with open_file(path) as file:
            for number, value in _values(file, columns):
                yield number, _renamed(value, columns)


def as_json_lines(values: Iterable[Any]) -> str:
    """Values as text, a line of JSON each."""
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


def texts_in(folder: Path) -> list[Path]:
    """The text and Markdown files in a folder and those within it, in the order of their names.

    Raises:
        DataError: If there are none.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in _TEXTS and file.is_file())
    if not files:
        raise DataError(
            f"{folder} is a folder without any file that ends in {' or '.join(_TEXTS)}.",
            "Name a file of examples, or a folder with texts, or one with train.jsonl and, optionally, heldout.jsonl.",
        )
    return files


def _values(file: DecodedFile, columns: Mapping[str, str]) -> Iterator[tuple[int, Any]]:
    suffix = _suffix(file.path)
    if file.start.startswith(_PARQUET):
        return _parquet(file)
    if suffix in _TABLES:
        return _table(file, _separator(file.start_text, _TABLES[suffix], columns), columns)
    if suffix in _TEXTS:
        return _paragraphs(file)
    if _is_json_list(file.start_text, suffix):
        return _json_list(file)
    return _json_objects(file) if _is_indented(file.start_text) else _json_lines(file, suffix)


def _renamed(value: Any, columns: Mapping[str, str]) -> Any:
    """A row with our names for its keys."""
    is_object = columns and isinstance(value, dict)
    return {columns.get(key, key): content for key, content in value.items()} if is_object else value


def _suffix(path: Path) -> str:
    """A file's ending, in lower case; of one that is packed, the ending before .gz."""
    *_, before, last = ["", "", *(suffix.lower() for suffix in path.suffixes)]
    return before if last == ".gz" else last


def _json_lines(file: DecodedFile, suffix: str) -> Iterator[tuple[int, Any]]:
    for number, line in file.lines():
        if line.strip():
            value = _from_json(line)
            if isinstance(value, Broken) and suffix not in SUFFIXES:
                value = Broken(f"{value.reason}; {_IF_TEXT}")
            yield number, value


def _from_json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "msg", error)
        return Broken(f"not valid JSON ({reason})")


def _is_json_list(start: str, suffix: str) -> bool:
    """Whether a file is one list of rows, rather than one row per line of which the first is a list by mistake."""
    first, newline, _ = start.partition("\n")
    return start.startswith("[") and (suffix == ".json" or not newline or isinstance(_from_json(first), Broken))


def _is_indented(start: str) -> bool:
    """Whether a file's first object goes over several lines, as a program or an editor indents it.

    In a file of one object per line, whose first is broken, the second line is an object of its own, or breaks off.
    """
    first, *others = start.splitlines()[:3] or [""]
    begins = first.startswith("{") and first.rstrip().endswith(("{", ",", "[", ":"))
    return begins and bool(others) and not others[0].lstrip().startswith("{")


def _json_objects(file: DecodedFile) -> Iterator[tuple[int, Any]]:
    """The objects in a file where each goes over several lines, one after another."""
    text = file.text()
    place = _skip_blanks(text, 0)
    line = 1 + text.count("\n", 0, place)
    while place < len(text):
        try:
            value, end = _JSON.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            what = (
                f"{file.path}:{getattr(error, 'lineno', line)}: here the object ends too early, or is not valid JSON."
            )
            raise DataError(what, _REPAIR) from None
        yield line, value
        following = _skip_blanks(text, end)
        line += text.count("\n", place, following)
        place = following


def _json_list(file: DecodedFile) -> Iterator[tuple[int, Any]]:
    """The elements of a list in JSON. They are parsed one by one, because `json.loads` loses the lines they are on."""
    text = file.text()
    place = _skip_blanks(text, text.index("[") + 1)
    line = 1 + text.count("\n", 0, place)
    sign = "" if text.startswith("]", place) else ","
    while sign == ",":
        try:
            value, end = _JSON.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            what = f"{file.path}:{getattr(error, 'lineno', line)}: here the list ends too early, or is not valid JSON."
            raise DataError(what, _REPAIR) from None
        yield line, value
        end = _skip_blanks(text, end)
        line += text.count("\n", place, end)
        sign = text[end : end + 1]
        if sign not in ("]", ","):
            raise DataError(
                f"{file.path}:{line}: after an example there should be a comma, or the closing bracket.", _REPAIR
            )
        place = _skip_blanks(text, end + 1)
        line += text.count("\n", end, place)


def _skip_blanks(text: str, place: int) -> int:
    blanks = _BLANKS.match(text, place)
    return blanks.end() if blanks else place


def _is_heading(names: Iterable[str], columns: Mapping[str, str]) -> bool:
    """Whether these are the columns of a table that can be used."""
    plain = (name.strip().lower() for name in names)
    return not _KNOWN_COLUMNS.isdisjoint(columns.get(name, name) for name in plain)


def _excel_separator(line: str) -> str:
    """What Excel's line before a table says that separates its cells; empty for any other line."""
    found = _EXCEL.fullmatch(line)
    return found[1] if found else ""


def _separator(start: str, usual: str, columns: Mapping[str, str]) -> str:
    """The character between a table's cells: the first that gives the first line a known name."""
    first = start.partition("\n")[0]
    if excel := _excel_separator(first):
        return excel
    for sign in (usual, ",", ";", "\t"):
        with suppress(csv.Error):
            if _is_heading(next(csv.reader([first], delimiter=sign), []), columns):
                return sign
    return usual


def _table(file: DecodedFile, separator: str, columns: Mapping[str, str]) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_CELL))
    skipped = 1 if _excel_separator(file.start_text.partition("\n")[0]) else 0
    lines = (line for number, line in file.lines() if number > skipped)
    table = csv.reader(lines, delimiter=separator, strict=True)
    begins = heading = 1 + skipped
    try:
        names = [name.strip().lower() for name in next(table, [])]
        if not _is_heading(names, columns):
            found = ", ".join(names)[:200] or "none"
            known = ", ".join(sorted(_KNOWN_COLUMNS))
            raise DataError(
                f"{file.path}:{heading}: no column is called any of {known}; the first line has: {found}.", _COLUMNS
            )
        begins = table.line_num + heading
        for cells in table:
            if any(cell.strip() for cell in cells):
                wrong = f"{len(cells)} cells, but {len(names)} columns" if len(cells) != len(names) else ""
                yield begins, Broken(wrong) if wrong else dict(zip(names, cells, strict=True))
            begins = table.line_num + heading
    except csv.Error as error:
        raise _table_error(file.path, begins, table.line_num + skipped, error) from None


def _table_error(path: Path, begins: int, line: int, error: csv.Error) -> DataError:
    if "field limit" in str(error):
        what = f"{path}:{begins}: a cell is longer than {_MAX_CELL:,} characters, or its double quote is never closed."
        return DataError(what, "Close the quote, or shorten the cell.")
    what = f"{path}:{line}: the table cannot be read ({error})."
    return DataError(what, "Put cells that hold commas, quotes or line breaks in double quotes.")


def _paragraphs(file: DecodedFile) -> Iterator[tuple[int, Any]]:
    begins, paragraph = 1, ""
    for number, line in file.lines():
        if not is_blank(line):
            begins = begins if paragraph else number
            paragraph += line
        elif paragraph:
            yield begins, {"text": paragraph.strip()}
            paragraph = ""
    if paragraph:
        yield begins, {"text": paragraph.strip()}


def _parquet(file: DecodedFile) -> Iterator[tuple[int, Any]]:
    number = 0
    with _arrow_errors(file.path):
        from pyarrow import parquet

        for batch in parquet.ParquetFile(file.binary).iter_batches(batch_size=_PARQUET_ROWS):
            for row in batch.to_pylist():
                number += 1
                yield number, row


@contextmanager
def _arrow_errors(path: Path) -> Iterator[None]:
    try:
        import pyarrow
    except ModuleNotFoundError:
        what = f"{path} is a Parquet file, but the package pyarrow, which reads it, is not installed."
        raise DataError(what, "Run `pip install 'ftdemo[parquet]'`.") from None
    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        what = f"{path} begins like a Parquet file, but cannot be read ({str(error).splitlines()[0]})."
        raise DataError(what, "Download or write the file again.") from None
