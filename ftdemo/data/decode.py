"""The text of a file, whatever it is packed and encoded in: gzip or not, UTF-8 with or without its mark, UTF-16."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftdemo.errors import DataError

MOST_LINE_BYTES = 2**20
PACKED = b"\x1f\x8b"
"""How a file begins that gzip has packed."""
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_FOREIGN = {
    b"PK\x03\x04": "a zip archive, or a document or sheet of an office program",
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"SQLite f": "a data base",
    b"\xd0\xcf\x11\xe0": "a document or sheet of an office program",
    b"\x28\xb5\x2f\xfd": "a file packed by zstd",
    b"\xfd7zXZ": "a file packed by xz",
    b"BZh": "a file packed by bzip2",
}
_EXPORT = "Save it as CSV, as JSON lines or as plain text, and give that file."


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file with their numbers, from 1.

    Raises:
        DataError: If the file cannot be read, is no text, or a line is longer than a mebibyte.
    """
    number = 1
    with _opened(path) as (file, is_utf_16), _decoded(path, "UTF-16" if is_utf_16 else "UTF-8", lambda: number):
        source: Any = io.TextIOWrapper(file, "utf-16", newline="\n") if is_utf_16 else file
        while raw := source.readline(MOST_LINE_BYTES + 1):
            if len(raw) > MOST_LINE_BYTES:
                raise DataError(f"{path}:{number}: the line is longer than 1 MiB.", "Write one example a line.")
            yield number, raw if is_utf_16 else raw.decode("utf-8-sig" if number == 1 else "utf-8")
            number += 1


@contextmanager
def as_text(path: Path) -> Iterator[io.TextIOBase]:
    """A file to be read letter by letter.

    Raises:
        DataError: As `lines` does, but for the length of lines.
    """
    with _opened(path) as (file, is_utf_16):
        name = "utf-16" if is_utf_16 else "utf-8-sig"
        with _decoded(path, name.removesuffix("-sig").upper(), lambda: None):
            yield io.TextIOWrapper(file, name, newline="\n")


def first_bytes(path: Path, count: int = 2048) -> bytes:
    """How a file begins, unpacked.

    Raises:
        DataError: If the file cannot be read.
    """
    with _opened(path) as (file, _):
        return bytes(file.read(count))


def as_far_as_text(begins: bytes) -> str:
    """How a text begins, of its first bytes."""
    return begins.decode("utf-16" if begins.startswith(_UTF_16) else "utf-8-sig", "ignore")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, bool]]:
    """The bytes of a file, unpacked, and whether they are UTF-16."""
    try:
        with path.open("rb") as plain:
            file: Any = gzip.GzipFile(fileobj=plain) if plain.peek(2).startswith(PACKED) else plain
            begins = file.peek(8)
            if what := next((name for magic, name in _FOREIGN.items() if begins.startswith(magic)), None):
                raise DataError(f"{path} is {what}, whatever its name says.", _EXPORT)
            yield file, begins.startswith(_UTF_16)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        what = f"{path}: what gzip packed here breaks off or is damaged ({error})."
        raise DataError(what, "Fetch or pack the file again.") from None
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror or error}."
        raise DataError(what, "Check the path and its permissions.") from None


@contextmanager
def _decoded(path: Path, encoding: str, line: Any) -> Iterator[None]:
    try:
        yield
    except UnicodeError as error:
        byte = getattr(error, "start", 0) + 1
        where = f"{path}:{number}: byte {byte}" if (number := line()) and encoding == "UTF-8" else f"{path}: a part"
        raise DataError(f"{where} is not {encoding}.", "Save the file as UTF-8 text.") from None
