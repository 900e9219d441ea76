"""An answer that should be a JSON object, compared with the one that was wanted, field by field."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Field:
    """One field of an answer. Values are JSON; a field that is missing has none."""

    name: str
    value: str | None
    wanted: str | None
    correct: bool


def parse_object(text: str) -> dict[str, Any] | None:
    """A JSON object with at least one field; None for any other text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and value else None


def compare_fields(text: str, reference: str) -> tuple[Field, ...]:
    """Every field that the answer has or should have; none if no object is wanted.

    An answer that is not a JSON object, and nothing else, has no fields.
    """
    wanted = parse_object(reference)
    if wanted is None:
        return ()
    found = parse_object(text) or {}
    return tuple(
        Field(
            name,
            _as_json(found, name),
            _as_json(wanted, name),
            name in found and name in wanted and found[name] == wanted[name],
        )
        for name in {**wanted, **found}
    )


def _as_json(value: dict[str, Any], name: str) -> str | None:
    return json.dumps(value[name], ensure_ascii=False) if name in value else None
