"""Changed copies of a data set, for experiments on the value of good data: fewer, mislabelled or repeated rows."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ftdemo.data import AnyRow, Labelled, Row, load_splits


def write_variant(
    data: str, folder: Path, *, seed: int, examples: int | None, mislabel: float, repeat: int, per_label: int | None
) -> None:
    """Write a changed ``train.jsonl`` and an unchanged ``heldout.jsonl`` to a folder that can be trained on.

    Args:
        data: The data set to start from.
        folder: Where to write.
        seed: Decides which rows are changed, and how.
        examples: How many training rows to use; all if it is none.
        mislabel: Share of them that get the answer or label of another one, from 0 to 1.
        repeat: How often each row is written.
        per_label: How many rows of each label to keep; all if it is none.
    """
    splits = load_splits(data, seed=seed, examples=examples)
    rows = list(splits.train)
    rng = random.Random(seed)
    if per_label:
        rng.shuffle(rows)
        rows = _first_of_each_label(rows, per_label)
    lines = _mislabelled([_as_json(row) for row in rows], mislabel, rng)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "train.jsonl", lines * repeat)
    _write(folder / "heldout.jsonl", [_as_json(row) for row in splits.heldout])


def _first_of_each_label(rows: Sequence[AnyRow], count: int) -> list[AnyRow]:
    counts: Counter[str] = Counter()
    kept = []
    for row in rows:
        label = row.label if isinstance(row, Labelled) else ""
        if counts[label] < count:
            counts[label] += 1
            kept.append(row)
    return kept


def _mislabelled(lines: list[dict[str, Any]], share: float, rng: random.Random) -> list[dict[str, Any]]:
    """Give a share of the rows the answers of others among them, each the next one's, so that none keeps its own."""
    key = "label" if lines and "label" in lines[0] else "completion"
    chosen = rng.sample(range(len(lines)), round(share * len(lines)))
    answers = [lines[place][key] for place in chosen]
    changed = list(lines)
    for place, answer in zip(chosen, answers[1:] + answers[:1], strict=True):
        changed[place] = {**lines[place], key: _other_label(lines, key, lines[place][key], answer, rng)}
    return changed


def _other_label(lines: list[dict[str, Any]], key: str, own: str, answer: str, rng: random.Random) -> str:
    """The answer, or, if it is a label that the row has anyway, another label."""
    others = sorted({line[key] for line in lines} - {own}) if key == "label" and answer == own else []
    return rng.choice(others) if others else answer


def _as_json(row: AnyRow) -> dict[str, Any]:
    if isinstance(row, Labelled):
        return {"text": row.text, "label": row.label}
    if isinstance(row, Row):
        constraints = {"constraints": dict(row.constraints)} if row.constraints else {}
        return {"prompt": row.turns[0].content, "completion": row.reference, **constraints}
    return {"text": row.text}


def _write(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
