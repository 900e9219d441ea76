"""Documents to search in: a file of texts, or a folder of text and Markdown files, with one passage per paragraph."""

from __future__ import annotations

from pathlib import Path

from ftdemo.data.rows import Text, stream_rows
from ftdemo.errors import DataError


def read_documents(path: Path) -> list[str]:
    """The passages of a file, or of all text files in a folder.

    Raises:
        DataError: If there are none, or a file holds anything but texts.
    """
    passages = []
    for row in stream_rows(path):
        if not isinstance(row, Text):
            what = f"{path}: texts to search in are expected, not examples to train on."
            raise DataError(what, 'Name a text file, a folder of them, or examples like {"text": …}.')
        passages.append(row.text)
    return passages
