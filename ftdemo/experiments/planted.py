"""Faults to plant: in the examples before training, and in the program that trains. Each is small and always the same.

Everything else that can go wrong needs no code: a setting of the recipe, or a model that is asked in another way.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdemo.data import Row, Splits
from ftdemo.data.files import as_json_lines
from ftdemo.experiments.fault_spec import CodeFault, RowFault

if TYPE_CHECKING:
    from ftdemo.data.tokenize import Examples
    from ftdemo.training.learner import Learner

Line = dict[str, Any]
TRAIN, HELDOUT = "train.jsonl", "heldout.jsonl"
HELD = 20
"""Examples that are held out: so many are answered after training."""
_DISTINCT, _COPIES = 12, 20
"""Of the repeated examples: how many differ, and how often each occurs."""
_SHUFFLED = 38
"""A seed with which an example occurs twice among the first five lines, which a reader sees."""
_LEAKED_EVERY = 4
_JOINED = 10
"""Examples in one running text."""
_OPEN_EVERY = 5
_LONG = range(90, 131)
"""Characters of a long message."""


@dataclass(frozen=True)
class SpoiledRows:
    """Examples with a fault, and what the finished model is asked in use."""

    train: Sequence[Line]
    heldout: Sequence[Line]
    fresh: Sequence[Line]
    """Messages with the answers that those who use the model want; no run has seen them."""
    columns: dict[str, str] = field(default_factory=lambda: {"prompt": "prompt", "completion": "completion"})
    """From which column of the person's file question and answer were taken."""
    shown: Sequence[Line] = ()
    """The person's file, where it is another one than the file that is trained on."""


def spoil(splits: Splits, fault: RowFault | None) -> SpoiledRows:
    """The examples of a run, with or without a fault.

    Args:
        splits: Conversations of one question and one answer each.
        fault: What is done to them.
    """
    train, heldout = _lines(splits.train), _lines(splits.heldout)
    untouched = SpoiledRows(train, heldout[:HELD], heldout[:HELD])
    return _ROW_FAULTS[fault](untouched, heldout) if fault else untouched


def write_rows(rows: SpoiledRows, folder: Path) -> None:
    """Write examples to a folder that can be trained on."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in ((TRAIN, rows.train), (HELDOUT, rows.heldout)):
        (folder / name).write_text(as_json_lines(lines), encoding="utf-8")


def joined_text(message: str, answer: str = "") -> str:
    """A message and its answer as one text, in the form that the person made up; without an answer, to be continued."""
    return f"Message: {message}\nTicket:" + (f" {answer}" if answer else "")


def _lines(rows: Iterable[Any]) -> list[Line]:
    chats = (row for row in rows if isinstance(row, Row))
    return [{"prompt": row.prompt[-1].content, "completion": row.reference} for row in chats]


def _leaked(rows: SpoiledRows, heldout: Sequence[Line]) -> SpoiledRows:
    """All held-out examples are among those to train on, spread over the file; in use, others are asked."""
    train = list(rows.train)
    for place, line in enumerate(rows.heldout):
        train.insert(2 + place * _LEAKED_EVERY, line)
    return replace(rows, train=train, fresh=heldout[HELD : 2 * HELD])


def _repeated(rows: SpoiledRows, _heldout: Sequence[Line]) -> SpoiledRows:
    """A file of few different examples, each many times, as an export that was joined with itself."""
    train = list(rows.train[:_DISTINCT]) * _COPIES
    random.Random(_SHUFFLED).shuffle(train)
    return replace(rows, train=train)


def _joined(rows: SpoiledRows, _heldout: Sequence[Line]) -> SpoiledRows:
    """Ten examples after each other in one running text, so that no answer is followed by a stop token."""
    train, heldout = (
        [{"text": "\n".join(joined_text(**_pair(line)) for line in part)} for part in _tens(lines)]
        for lines in (rows.train, rows.heldout)
    )
    return replace(rows, train=train, heldout=heldout)


def _wrong_column(rows: SpoiledRows, _heldout: Sequence[Line]) -> SpoiledRows:
    """An export with three columns, of which the state of each ticket is taken for the answer."""
    shown = [_exported(place, line) for place, line in enumerate(rows.train)]
    heldout = [_exported(place, line) for place, line in enumerate(rows.heldout)]
    columns = {"prompt": "message", "completion": "status"}
    train, held = ([_mapped(line, columns) for line in part] for part in (shown, heldout))
    return SpoiledRows(train, held, rows.fresh, columns, shown)


def _long(rows: SpoiledRows, _heldout: Sequence[Line]) -> SpoiledRows:
    """Only long messages, which leave little room for the answer."""
    return replace(rows, train=[line for line in rows.train if len(line["prompt"]) in _LONG])


_ROW_FAULTS: dict[RowFault, Callable[[SpoiledRows, Sequence[Line]], SpoiledRows]] = {
    "leaked": _leaked,
    "repeated": _repeated,
    "joined": _joined,
    "wrong column": _wrong_column,
    "long": _long,
}


def _pair(line: Line) -> dict[str, str]:
    return {"message": line["prompt"], "answer": line["completion"]}


def _tens(lines: Sequence[Line]) -> Iterable[Sequence[Line]]:
    return (lines[start : start + _JOINED] for start in range(0, len(lines), _JOINED))


def _exported(place: int, line: Line) -> Line:
    status = "open" if place % _OPEN_EVERY == _OPEN_EVERY - 1 else "closed"
    return {"message": line["prompt"], "ticket": line["completion"], "status": status}


def _mapped(line: Line, columns: dict[str, str]) -> Line:
    """A line with our names for its columns; the columns that nobody mapped stay."""
    named = {key: line[column] for key, column in columns.items()}
    return named | {column: value for column, value in line.items() if column not in columns.values()}


def plant_in_code(learner: Learner, fault: CodeFault) -> Learner:
    """A learner that is trained by a program with a fault."""
    return _CODE_FAULTS[fault](learner)


def _mask_question(learner: Learner) -> Learner:
    """The mask the wrong way round: the loss is computed on questions, and answers are only read."""
    return replace(learner, train=invert_masks(learner.train), heldout=invert_masks(learner.heldout))


def invert_masks(examples: Examples) -> Examples:
    """Examples of which exactly those tokens are trained that were only read; the first never is."""
    from ftdemo.data.tokenize import Examples

    found = Examples()
    for example in examples:
        found.add(replace(example, completion_mask=(False, *(not trained for trained in example.completion_mask[1:]))))
    return found


def _store_in_bfloat16(learner: Learner) -> Learner:
    """Weights that are rounded to bfloat16 after every step, as those of a model that was loaded in this format.

    A product of such weights in float32 gives what torch gives for the update itself: it computes in float32, then
    rounds to the nearest number that bfloat16 has.
    """
    import torch

    def _round_weights(*_: Any) -> None:
        with torch.no_grad():
            for weight in learner.trainable.values():
                weight.copy_(weight.bfloat16())

    _round_weights()
    learner.optimizer.register_step_post_hook(_round_weights)
    return learner


_CODE_FAULTS: dict[CodeFault, Callable[[Learner], Learner]] = {
    "mask on the question": _mask_question,
    "weights in bfloat16": _store_in_bfloat16,
}
