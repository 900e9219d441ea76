"""Which rows a run trained on and which it held out, as hashes: a data file may change after it was trained on."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from ftdemo.data.rows import AnyRow, Labelled, Row

_BYTES = 8
"""Of a row's hash: among a million rows, two share 64 bits by accident once in 37 million files."""


def row_hash(row: AnyRow) -> bytes:
    """The first eight bytes of the SHA-256 of all that a row holds, except its line number."""
    if isinstance(row, Row):
        turns = [(turn.role, turn.content, turn.train, turn.extra) for turn in row.turns]
        content: list[Any] = [turns, dict(row.constraints), row.extra]
    else:
        content = [row.text, row.label if isinstance(row, Labelled) else None, row.extra]
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, default=str)
    return sha256(text.encode("utf-8", "surrogatepass")).digest()[:_BYTES]


@dataclass(frozen=True)
class RowHashes:
    """The rows of a run."""

    train_rows: int
    train: str
    """SHA-256, in hexadecimal, of the training examples' hashes in their order."""
    heldout: tuple[bytes, ...]
    """The hash of each held-out example, in their order."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, in which a held-out example takes 11 characters."""
        heldout = b64encode(b"".join(self.heldout)).decode()
        return {"train_rows": self.train_rows, "train_sha256": self.train, "heldout": heldout}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> RowHashes:
        """What `as_dict` gave."""
        heldout = b64decode(record["heldout"])
        starts = range(0, len(heldout), _BYTES)
        return cls(
            record["train_rows"], record["train_sha256"], tuple(heldout[start : start + _BYTES] for start in starts)
        )


class TrainingRows:
    """Counts and hashes training examples as they pass by, so that they are read once."""

    def __init__(self) -> None:
        self._digest = sha256()
        self._count = 0

    def passing(self, rows: Iterable[AnyRow]) -> Iterator[AnyRow]:
        """The same rows."""
        for row in rows:
            self._digest.update(row_hash(row))
            self._count += 1
            yield row

    def with_heldout(self, rows: Iterable[AnyRow]) -> RowHashes:
        """The hashes of those that have passed, and of the held-out ones."""
        return RowHashes(self._count, self._digest.hexdigest(), tuple(map(row_hash, rows)))
