"""Changed copies of a data set, for experiments: fewer, mislabelled or repeated rows, or rows of fewer facts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ftdemo.data import AnyRow, Labelled, Row, load_splits
from ftdemo.data.files import as_json_lines
from ftdemo.data.rows import Turn
from ftdemo.errors import DataError


def write_variant(
    data: str,
    folder: Path,
    *,
    seed: int,
    examples: int | None,
    mislabel: float = 0.0,
    repeat: int = 1,
    per_label: int | None = None,
    facts: int | None = None,
) -> None:
    """Write a changed ``train.jsonl`` and its ``heldout.jsonl`` to a folder that can be trained on.

    Args:
        data: The data set to start from.
        folder: Where to write.
        seed: Decides which rows are changed, and how.
        examples: How many training examples to use; all if it is none.
        mislabel: Share of them that get the answer or label of another one, from 0 to 1.
        repeat: How often each row is written.
        per_label: How many rows of each label to keep; all if it is none.
        facts: Keep only rows whose answer is among the first so many different answers of the training examples. This
            is the one change that the held-out examples share: they keep the questions about the same facts.

    Raises:
        DataError: If there are fewer facts than that.
    """
    splits = load_splits(data, seed=seed, examples=examples)
    rows, heldout = list(splits.train), list(splits.heldout)
    if facts:
        answers = _first_answers(rows, facts, data)
        rows, heldout = ([row for row in part if _answer(row) in answers] for part in (rows, heldout))
    rng = random.Random(seed)
    if per_label:
        rng.shuffle(rows)
        rows = _first_of_each_label(rows, per_label)
    lines = _mislabelled([_as_json(row) for row in rows], mislabel, rng)
    _write_splits(folder, lines * repeat, [_as_json(row) for row in heldout])


def _first_answers(rows: Iterable[AnyRow], count: int, data: str) -> frozenset[str]:
    answers = list(dict.fromkeys(map(_answer, rows)))
    if len(answers) < count:
        what = f"`facts` is {count}, but the training examples of {data} have only {len(answers)} different answers."
        raise DataError(what, f"Set it to {len(answers)} or less.")
    return frozenset(answers[:count])


def _answer(row: AnyRow) -> str:
    """What a row teaches: the last answer of a conversation, a label, or a text itself."""
    if isinstance(row, Row):
        return row.reference
    return row.label if isinstance(row, Labelled) else row.text


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
    if any(key not in lines[place] for place in chosen):
        what = "`mislabel` exchanges answers, but some conversations have more than one question and answer."
        raise DataError(what, "Leave it out, or use examples of one question and one answer each.")
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
    """A row as a line of JSON holds it. Reading that line gives the same row."""
    if isinstance(row, Labelled):
        return {"text": row.text, "label": row.label, **dict(row.extra)}
    if isinstance(row, Row):
        constraints = {"constraints": dict(row.constraints)} if row.constraints else {}
        return {**_turns(row), **constraints, **dict(row.extra)}
    return {"text": row.text, **dict(row.extra)}


def _turns(row: Row) -> dict[str, Any]:
    """The turns of a conversation: as prompt and completion if that is all there is, else as messages."""
    prompt, *others = row.turns
    if row.turns == (Turn("user", prompt.content), Turn("assistant", row.reference)):
        return {"prompt": prompt.content, "completion": others[0].content}
    messages = [turn.as_message() | ({} if turn.train else {"train": False}) for turn in row.turns]
    return {"messages": messages}


def _write_splits(folder: Path, train: Sequence[dict[str, Any]], heldout: Sequence[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("train", train), ("heldout", heldout)):
        if not lines:
            continue  # data need not have held-out examples, and a file of none cannot be read
        (folder / f"{name}.jsonl").write_text(as_json_lines(lines), encoding="utf-8")
