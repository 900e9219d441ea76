"""Documents to search in: a file of texts, or a folder of text and Markdown files, a passage a paragraph."""

from __future__ import annotations

from pathlib import Path

from ftdemo.data.rows import Text, stream_rows
from ftdemo.errors import DataError

_SUFFIXES = (".txt", ".md")


def read_documents(path: Path) -> list[str]:
    """The passages of a file or of all files in a folder, in the order of their names.

    Raises:
        DataError: If there are none, or a file holds something else than texts.
    """
    files = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: no file here ends in {' or '.join(_SUFFIXES)}.", "Name a folder of texts, or a file.")
    return [passage for file in files for passage in _passages(file)]


def _passages(file: Path) -> list[str]:
    passages = []
    for row in stream_rows(file):
        if not isinstance(row, Text):
            what = f"{file}: texts to search in are expected, not rows to train on."
            raise DataError(what, 'Give a text file, or rows like {"text": …}.')
        passages.append(row.text)
    return passages
