"""Data: rows read from files, and the data sets that ship with the package. Nothing here knows a tokenizer."""

from ftdemo.data.builtin import BUILT_IN, BuiltIn
from ftdemo.data.rows import Row, Splits, Turn, load_splits, read_rows

__all__ = ["BUILT_IN", "BuiltIn", "Row", "Splits", "Turn", "load_splits", "read_rows"]
