"""Data: rows read from files, and the data sets that ship with the package. Nothing here knows a tokenizer."""

from ftdemo.data.builtin import BUILT_IN, BuiltIn
from ftdemo.data.rows import (
    AnyRow,
    Asked,
    Examined,
    Labelled,
    Row,
    Rows,
    Splits,
    Text,
    Turn,
    examine,
    faults,
    load_splits,
    read_rows,
    stream_rows,
)
from ftdemo.data.trial import Trial

__all__ = [
    "BUILT_IN",
    "AnyRow",
    "Asked",
    "BuiltIn",
    "Examined",
    "Labelled",
    "Row",
    "Rows",
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
