"""Data sets on the Hugging Face Hub: `datasets` downloads each once and keeps it on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ftdemo.errors import DataError

_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HELDOUT = ("test", "validation")
"""Names of a split to evaluate on; the first that exists counts."""
_FILES = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".txt", ".md", ".gz", ".yaml")


def is_id(name: str) -> bool:
    """Whether this names a data set on the Hub, ``owner/name``, and nothing on this disk."""
    return bool(_ID.fullmatch(name)) and Path(name).suffix.lower() not in _FILES and not Path(name).exists()


def iterate_rows(name: str, *, heldout: bool = False) -> Iterator[dict[str, Any]]:
    """The rows of a data set's training split, or of its held-out split, without the columns that have no value.

    Raises:
        DataError: If it cannot be downloaded.
    """
    found = _splits(name)
    split = found[_heldout(found) if heldout else "train"]
    return ({key: value for key, value in row.items() if value is not None} for row in split)


def has_heldout(name: str) -> bool:
    """Whether it has a split to evaluate on."""
    return bool(_heldout(_splits(name)))


def _heldout(found: Any) -> str:
    return next((split for split in _HELDOUT if split in found), "")


@lru_cache(maxsize=4)
def _splits(name: str) -> Any:
    try:
        import datasets
    except ModuleNotFoundError:
        raise DataError(
            f"There is no data called {name}: no such file here. Getting it from the Hub needs the package `datasets`.",
            "Run `pip install 'ftdemo[hub]'`, or name a file.",
        ) from None
    datasets.disable_progress_bars()
    try:
        found = datasets.load_dataset(name)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise DataError(
            f"There is no data called {name}: no such file here, and none on the Hub ({reason}).",
            "Check the name and the connection, or name a file.",
        ) from None
    if "train" not in found:
        raise DataError(f"{name}: there is no split called train.", f"Its splits are: {', '.join(found)}.")
    return found
