"""Data: rows from files and from the data sets that ship with the package, and how they become examples."""

from ftdemo.data.builtin import BUILT_IN, BuiltIn
from ftdemo.data.rows import (
    AnyPrompt,
    AnyRow,
    Examined,
    Labelled,
    Row,
    Text,
    Turn,
    examine,
    faults,
    read_rows,
    stream_rows,
)
from ftdemo.data.split import Splits, load_splits
from ftdemo.data.trial import Trial

__all__ = [
    "BUILT_IN",
    "AnyPrompt",
    "AnyRow",
    "BuiltIn",
    "Examined",
    "Labelled",
    "Row",
    "Splits",
    "Text",
    "Trial",
    "Turn",
    "examine",
    "faults",
    "load_splits",
    "read_rows",
    "stream_rows",
]
