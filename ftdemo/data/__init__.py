"""Data: rows read from files, and the data sets that ship with the package. Nothing here knows a tokenizer."""

from ftdemo.data.builtin import BUILT_IN, BuiltIn
from ftdemo.data.rows import AnyRow, Labelled, Row, Rows, Splits, Text, Turn, load_splits, read_rows, stream_rows

__all__ = [
    "BUILT_IN",
    "AnyRow",
    "BuiltIn",
    "Labelled",
    "Row",
    "Rows",
    "Splits",
    "Text",
    "Turn",
    "load_splits",
    "read_rows",
    "stream_rows",
]
