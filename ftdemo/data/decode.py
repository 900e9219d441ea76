"""The text of a file, whether gzip packed it or not: UTF-8, with or without a byte order mark, or UTF-16."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from ftdemo.errors import DataError

PACKED = b"\x1f\x8b"
"""The first bytes of a file that gzip packed."""
_MAX_LINE_BYTES = 2**20
_START_BYTES = 2048
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_FOREIGN = {
    b"PK\x03\x04": "a zip archive, or a document or sheet of an office program",
    b"%PDF": "a PDF document",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"SQLite f": "a database",
    b"\xd0\xcf\x11\xe0": "a document or sheet of an office program",
    b"\x28\xb5\x2f\xfd": "a file compressed with zstd",
    b"\xfd7zXZ": "a file compressed with xz",
    b"BZh": "a file compressed with bzip2",
}
_EXPORT = "Save it as CSV, JSON lines or plain text, and name that file."


@dataclass(frozen=True)
class DecodedFile:
    """A file that is open and will be read once, from its first byte to its last."""

    path: Path
    binary: Any
    """Its bytes, unpacked, as a binary file."""
    start: bytes
    """The first 2,048 of them: enough to tell the format."""

    @property
    def start_text(self) -> str:
        """The beginning of its text, without leading blanks."""
        return self.start.decode("utf-16" if self._is_utf_16 else "utf-8-sig", "ignore").lstrip()

    def lines(self) -> Iterator[tuple[int, str]]:
        """Its lines with their numbers, from 1.

        Raises:
            DataError: If it is not text, or a line is longer than 1 MiB.
        """
        number = 1
        source: Any = io.TextIOWrapper(self.binary, "utf-16", newline="\n") if self._is_utf_16 else self.binary
        try:
            while raw := source.readline(_MAX_LINE_BYTES + 1):
                if len(raw) > _MAX_LINE_BYTES:
                    raise DataError(
                        f"{self.path}:{number}: the line is longer than 1 MiB.", "Write one example per line."
                    )
                yield number, raw if self._is_utf_16 else raw.decode("utf-8-sig" if number == 1 else "utf-8")
                number += 1
        except UnicodeError as error:
            raise self._not_text(number, getattr(error, "start", 0) + 1) from None

    def text(self) -> str:
        """All of it.

        Raises:
            DataError: If it is not text.
        """
        content = self.binary.read()
        try:
            return str(content.decode("utf-16" if self._is_utf_16 else "utf-8-sig"))
        except UnicodeDecodeError as error:
            line_start = content.rfind(b"\n", 0, error.start) + 1
            raise self._not_text(content.count(b"\n", 0, line_start) + 1, error.start - line_start + 1) from None

    @property
    def _is_utf_16(self) -> bool:
        return self.start.startswith(_UTF_16)

    def _not_text(self, line: int, byte: int) -> DataError:
        where = (
            f"{self.path}: a part is not UTF-16."
            if self._is_utf_16
            else f"{self.path}:{line}: byte {byte} is not UTF-8."
        )
        return DataError(where, "Save the file as UTF-8 text.")


@contextmanager
def open_file(path: Path) -> Iterator[DecodedFile]:
    """Open a file to read it once.

    Raises:
        DataError: If it is a pipe, cannot be read, or is in a format that is certainly not text.
    """
    try:
        _refuse_pipe(path)
        with path.open("rb") as packed:
            binary = gzip.GzipFile(fileobj=packed) if packed.peek(2).startswith(PACKED) else packed
            start = binary.read(_START_BYTES)
            if what := next((name for magic, name in _FOREIGN.items() if start.startswith(magic)), None):
                raise DataError(f"{path} is {what}, whatever its name suggests.", _EXPORT)
            binary.seek(0)
            yield DecodedFile(path, binary, start)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        what = f"{path}: the gzip data ends too early or is damaged ({error})."
        raise DataError(what, "Download or compress the file again.") from None
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror or error}."
        raise DataError(what, "Check the path and its permissions.") from None


def _refuse_pipe(path: Path) -> None:
    """Refuse what can be read only once, before it is opened: opening a pipe that nobody writes to waits for ever."""
    mode = path.stat().st_mode
    if not (S_ISREG(mode) or S_ISDIR(mode)):
        what = f"{path} is a pipe or a device, which can be read only once. ftdemo reads examples more than once."
        raise DataError(what, "Write them to a file first (`COMMAND > examples.jsonl`), and give that file.")
