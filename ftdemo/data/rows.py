"""Rows: one conversation each, read from a file or a built-in data set, checked on the way in."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from ftdemo.data.builtin import BUILT_IN
from ftdemo.errors import DataError

Role = Literal["system", "user", "assistant"]
_SHAPES = (
    'Each line should be {"messages": [{"role": "user", "content": …}, {"role": "assistant", "content": …}]} '
    'or {"prompt": …, "completion": …}.'
)
_MAX_LINE_BYTES = 2**20
_HELDOUT_SHARE = 0.1
_MAX_HELDOUT = 60
_MIN_ROWS_TO_SPLIT = 10


@dataclass(frozen=True)
class Turn:
    """What one side said."""

    role: Role
    content: str

    def as_message(self) -> dict[str, str]:
        """The turn as chat templates expect it."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True)
class Row:
    """One conversation. `number` is its line in the file, from 1."""

    number: int
    turns: tuple[Turn, ...]

    @property
    def messages(self) -> list[dict[str, str]]:
        """All turns as chat templates expect them."""
        return [turn.as_message() for turn in self.turns]

    @property
    def prompt(self) -> tuple[Turn, ...]:
        """The turns before the last assistant turn."""
        return self.turns[: self._last_assistant()]

    @property
    def reference(self) -> str:
        """What the last assistant turn says."""
        return self.turns[self._last_assistant()].content

    def _last_assistant(self) -> int:
        return max(index for index, turn in enumerate(self.turns) if turn.role == "assistant")


@dataclass(frozen=True)
class Splits:
    """Rows to train on and rows to judge by. No row is in both."""

    train: tuple[Row, ...]
    heldout: tuple[Row, ...]


def load_splits(data: str, *, seed: int, examples: int | None = None) -> Splits:
    """The rows of a built-in data set or of a JSONL file, parted into training and held-out rows.

    A built-in set brings its own held-out rows. Of a file with ten rows or more a seeded tenth (60 rows at most)
    is held out. `examples` then keeps the first N training rows.

    Raises:
        DataError: If there is no such data, it cannot be read, or a row is malformed.
    """
    if data in BUILT_IN:
        built_in = BUILT_IN[data]
        train, heldout = read_rows(built_in.train), read_rows(built_in.heldout)
    else:
        train, heldout = _hold_out(read_rows(_existing_file(data)), seed)
    return Splits(train=tuple(train[:examples]), heldout=tuple(heldout))


def read_rows(path: Path) -> list[Row]:
    """All rows of a JSONL file, in order. Blank lines are passed over.

    Raises:
        DataError: If the file cannot be read or is empty, or a line is malformed: file and line are named.
    """
    rows = [_parse(line, path, number) for number, line in _lines(path) if line.strip()]
    if not rows:
        raise DataError(f"{path}: the file is empty.", _SHAPES)
    return rows


def _existing_file(data: str) -> Path:
    path = Path(data)
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as error:
        what = f"{data} cannot be read: {error.strerror or error}."
        raise DataError(what, "Check the path and its permissions.") from None
    if is_folder:
        raise DataError(f"{data} is a folder.", "Name a JSONL file in it.")
    if not is_there:
        known = ", ".join(BUILT_IN)
        raise DataError(f"No data called {data}: no such file here.", f"Give a JSONL file, or a built-in set: {known}.")
    return path


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(_MAX_LINE_BYTES + 1):
                number += 1
                if len(raw) > _MAX_LINE_BYTES:
                    raise DataError(f"{path}:{number}: the line is longer than 1 MiB.", "Write one example a line.")
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        where = f"{path}:{number}: byte {error.start + 1} is not UTF-8."
        raise DataError(where, "Save the file as UTF-8 text.") from None
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror or error}."
        raise DataError(what, "Check the path and its permissions.") from None


def _parse(line: str, path: Path, number: int) -> Row:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else getattr(error, "msg", error)
        what = f"{path}:{number}: not valid JSON ({reason})."
        raise DataError(what, _SHAPES) from None
    try:
        return Row(number, tuple(_turns(value)))
    except ValueError as error:
        raise DataError(f"{path}:{number}: {error}.", _SHAPES) from None


def _turns(value: Any) -> list[Turn]:
    """The turns of one parsed line.

    Raises:
        ValueError: What is wrong with the line.
    """
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is expected, this is {_json_kind(value)}")
    if "messages" in value:
        turns = _from_messages(value["messages"])
    elif "prompt" in value and "completion" in value:
        turns = [_turn("user", value["prompt"], "prompt"), _turn("assistant", value["completion"], "completion")]
    else:
        found = ", ".join(f"`{key}`" for key in list(value)[:5]) or "none"
        raise ValueError(f"neither `messages` nor `prompt` and `completion` is here; the keys are {found}")
    if turns[-1].role != "assistant":
        raise ValueError("the last turn is not the assistant's, so there is nothing to learn from it")
    return turns


def _from_messages(messages: Any) -> list[Turn]:
    if not isinstance(messages, list) or not messages:
        raise ValueError("`messages` should be a list with at least one turn")
    turns = []
    for index, message in enumerate(messages, 1):
        if not isinstance(message, dict) or "role" not in message or "content" not in message:
            raise ValueError(f"turn {index} should have a `role` and a `content`")
        turns.append(_turn(message["role"], message["content"], f"the content of turn {index}"))
    if any(turn.role == "system" for turn in turns[1:]):
        raise ValueError("a `system` turn may only come first")
    spoken = [turn.role for turn in turns if turn.role != "system"]
    if any(role != ("user", "assistant")[place % 2] for place, role in enumerate(spoken)):
        raise ValueError("turns should go user, assistant, user, assistant …")
    return turns


def _turn(role: Any, content: Any, name: str) -> Turn:
    if role not in ("system", "user", "assistant"):
        raise ValueError(f"the role {role!r} is unknown: it should be system, user or assistant")
    if not isinstance(content, str):
        raise ValueError(f"{name} should be text, this is {_json_kind(content)}")
    if not content.strip():
        raise ValueError(f"{name} is empty")
    if any("\ud800" <= letter <= "\udfff" for letter in content):
        raise ValueError(f"{name} holds half a surrogate pair, which is no text")
    return Turn(cast(Role, role), content)


def _json_kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _hold_out(rows: list[Row], seed: int) -> tuple[list[Row], list[Row]]:
    if len(rows) < _MIN_ROWS_TO_SPLIT:
        return rows, []
    count = min(_MAX_HELDOUT, max(1, round(len(rows) * _HELDOUT_SHARE)))
    chosen = set(random.Random(seed).sample(range(len(rows)), count))
    return [row for i, row in enumerate(rows) if i not in chosen], [rows[i] for i in sorted(chosen)]
