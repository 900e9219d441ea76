"""Data sets on the Hugging Face Hub, through `datasets`: fetched once, kept on disk, and read row by row."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ftdemo.errors import DataError

_ID = re.compile(r"[\w.-]+/[\w.-]+")
_HELDOUT = ("test", "validation")
"""What the split to judge by is called; the first that there is counts."""
_FILES = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".txt", ".md", ".gz", ".yaml")


def is_id(name: str) -> bool:
    """Whether this names a data set on the Hub, ``owner/name``, and nothing on this disk."""
    return bool(_ID.fullmatch(name)) and Path(name).suffix.lower() not in _FILES and not Path(name).exists()


def iterate_rows(name: str, *, heldout: bool = False) -> Iterator[dict[str, Any]]:
    """The rows of a data set's split to train on, or of that to judge by; columns without a value are left out.

    Raises:
        DataError: If it cannot be had.
    """
    found = _splits(name)
    split = found[_heldout(found) if heldout else "train"]
    return ({key: value for key, value in row.items() if value is not None} for row in split)


def number_of_rows(name: str) -> int:
    """How many rows its split to train on has."""
    return len(_splits(name)["train"])


def has_heldout(name: str) -> bool:
    """Whether it brings rows to judge by."""
    return bool(_heldout(_splits(name)))


def _heldout(found: Any) -> str:
    return next((split for split in _HELDOUT if split in found), "")


@lru_cache(maxsize=4)
def _splits(name: str) -> Any:
    try:
        import datasets
    except ModuleNotFoundError:
        raise DataError(
            f"No data called {name}: no such file here. To fetch it from the Hub the package datasets is needed.",
            "Run `pip install 'ftdemo[hub]'`, or give a file.",
        ) from None
    datasets.disable_progress_bars()
    try:
        found = datasets.load_dataset(name)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        told = str(error).strip().partition("\n")[0]
        raise DataError(
            f"No data called {name}: no such file here, and the Hub gave none ({told}).",
            "Check the name, or the connection; or give a file.",
        ) from None
    if "train" not in found:
        raise DataError(f"{name}: there is no split called train.", f"Its splits are: {', '.join(found)}.")
    return found
