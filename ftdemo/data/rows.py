"""Rows: a conversation, a text, or a text with its label; read from a file and checked on the way in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from ftdemo.data import constraints
from ftdemo.data.files import SHAPES, Broken, values
from ftdemo.data.trial import Trial
from ftdemo.errors import DataError

Role = Literal["system", "user", "assistant"]
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation."""

    role: Role
    content: str

    def as_message(self) -> dict[str, str]:
        """The turn as chat templates expect it."""
        return {"role": self.role, "content": self.content}


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation. `number` is its line in the file, from 1."""

    number: int
    turns: tuple[Turn, ...]
    constraints: constraints.Constraints = field(default_factory=dict)
    """What an answer has to fulfil, where the row names it: see `ftdemo.data.constraints`."""

    @property
    def messages(self) -> list[dict[str, str]]:
        """All turns as chat templates expect them."""
        return [turn.as_message() for turn in self.turns]

    @property
    def text(self) -> str:
        """The contents of all turns, a line end between them."""
        return "\n".join(turn.content for turn in self.turns)

    @property
    def prompt(self) -> tuple[Turn, ...]:
        """The turns before the last assistant turn."""
        return self.turns[: self._last_assistant()]

    @property
    def reference(self) -> str:
        """The content of the last assistant turn."""
        return self.turns[self._last_assistant()].content

    def _last_assistant(self) -> int:
        return max(index for index, turn in enumerate(self.turns) if turn.role == "assistant")


@dataclass(frozen=True, slots=True)
class Text:
    """One running text. `number` is its line in the file, from 1."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Labelled:
    """One text and the class it belongs to. `number` is its line in the file, from 1."""

    number: int
    text: str
    label: str


AnyRow = Row | Text | Labelled
AnyPrompt = AnyRow | Trial
"""Anything that a model can be given to answer or to continue."""
_CONVERSATIONS = (("messages",), ("prompt", "completion"), ("instruction", "output"), ("conversations",))
"""The keys by which conversations are recognised: OpenAI's, TRL's, Alpaca's, ShareGPT's. The first that fit count."""
KEYS = (*(key for keys in _CONVERSATIONS for key in keys), "input", "text", "label")
"""All keys of a row that training reads."""
_ROLES = {"human": "user", "gpt": "assistant"}
_KINDS: dict[type, str] = {Row: "a conversation", Text: "a text", Labelled: "a text with a label"}


def read_rows(path: Path) -> list[AnyRow]:
    """All rows of a file at once, for a file that is known to be small."""
    return list(stream_rows(path))


def stream_rows(path: Path) -> Iterator[AnyRow]:
    """The rows of a file, in order. Blank lines are skipped.

    Raises:
        DataError: If the file cannot be read or is empty, a line is malformed, or it holds another kind of row than
            the first: file and line are named.
    """
    for seen in examine(path):
        if isinstance(seen.row, DataError):
            raise seen.row
        yield seen.row


@dataclass(frozen=True)
class Examined:
    """A row of a file, good or bad."""

    number: int
    """Its line, from 1."""
    shape: tuple[str, ...]
    """The keys by which it was recognised; empty for a bad row."""
    row: AnyRow | DataError
    value: Any
    """Its content in the file, by our names."""


def examine(path: Path, columns: Mapping[str, str] | None = None) -> Iterator[Examined]:
    """The rows of a file, in order, including the bad ones with what is wrong.

    Args:
        path: The file.
        columns: Our names for the file's own keys or columns, where they differ.

    Raises:
        DataError: If the file cannot be read any further, or is empty: file and line are named.
    """
    kind: type | None = None
    is_empty = True
    for number, value in values(path, columns):
        is_empty = False
        try:
            row = parse_row(path, number, value)
            kind = kind or type(row)
            if type(row) is not kind:
                what = f"{path}:{number}: this row is {_KINDS[type(row)]}, those before are each {_KINDS[kind]}."
                raise DataError(what, "Give every row the same keys, or split the file in two.")
        except DataError as error:
            yield Examined(number, (), error, value)
        else:
            alone = ("text", "label") if kind is Labelled else ("text",)
            yield Examined(number, _shape(value) or alone, row, value)
    if is_empty:
        raise DataError(f"{path}: the file is empty.", SHAPES)


def parse_row(path: Path, number: int, value: Any) -> AnyRow:
    """The row that a parsed line holds.

    Raises:
        DataError: If it holds none: the file, the line and the cause are named.
    """
    try:
        if isinstance(value, Broken):
            raise ValueError(value.reason)
        return _row(number, value)
    except ValueError as error:
        raise DataError(f"{path}:{number}: {error}.", SHAPES) from None


def read_changes(path: Path, documents: Sequence[str]) -> list[tuple[str, str, Row]]:
    """Facts that change: the passage as it was, as it is now, and a question about it.

    Args:
        path: Rows of a conversation that also name the passages, under `old` and `new`.
        documents: The passages as they were.

    Raises:
        DataError: If a row is no conversation, or names a passage that is not among the documents.
    """
    changes = []
    for seen in examine(path):
        if isinstance(seen.row, DataError):
            raise seen.row
        old, new = (seen.value.get(key) for key in ("old", "new"))
        if not isinstance(seen.row, Row) or not isinstance(new, str) or old not in documents:
            what = f"{path}:{seen.number}: `old` should be a passage of the documents, `new` what takes its place."
            raise DataError(what, 'Write {"old": …, "new": …, "prompt": …, "completion": …} with both in full.')
        changes.append((old, new, seen.row))
    return changes


def faults(path: Path, most: int = 5) -> tuple[list[str], int]:
    """What is wrong with a file, row by row.

    Args:
        path: The file.
        most: How many faults to find before stopping.

    Returns:
        Sentences with file and line, and the number of good rows before the reading stopped.
    """
    found: list[str] = []
    good = 0
    try:
        for seen in examine(path):
            if not isinstance(seen.row, DataError):
                good += 1
                continue
            found.append(seen.row.what)
            if len(found) == most:
                break
    except DataError as error:
        found.append(f"{error.what} {error.remedy}")
    return found, good


def _row(number: int, value: Any) -> AnyRow:
    """The row in a parsed line; its keys decide its kind.

    Raises:
        ValueError: What is wrong with the line.
    """
    if not isinstance(value, dict):
        raise ValueError(f"a JSON object is expected, this is {_json_kind(value)}")
    if "text" in value and not _shape(value):
        text = _content(value["text"], "text")
        return Labelled(number, text, _label(value["label"])) if "label" in value else Text(number, text)
    return Row(number, tuple(_turns(value)), constraints.validate_constraints(value.get("constraints", {})))


def _label(label: Any) -> str:
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    if not isinstance(label, str):
        raise ValueError(f"label should be a word or a whole number, this is {_json_kind(label)}")
    return _content(label, "label")


def _shape(value: dict[str, Any]) -> tuple[str, ...]:
    """The keys by which a row is recognised as a conversation; empty if it is none."""
    return next((keys for keys in _CONVERSATIONS if all(key in value for key in keys)), ())


def _turns(value: dict[str, Any]) -> list[Turn]:
    """The turns of a conversation, whichever of the known shapes it has."""
    match _shape(value):
        case ("messages",):
            turns = _from_messages(value["messages"], "messages", "role", "content")
        case ("conversations",):
            turns = _from_messages(value["conversations"], "conversations", "from", "value")
        case ("instruction", "output"):
            prompt = _content(value["instruction"], "instruction")
            if value.get("input"):
                prompt += f"\n\n{_content(value['input'], 'input')}"
            turns = [Turn("user", prompt), _turn("assistant", value["output"], "output")]
        case ("prompt", "completion"):
            turns = [_turn("user", value["prompt"], "prompt"), _turn("assistant", value["completion"], "completion")]
        case _:
            found = ", ".join(f"`{key}`" for key in list(value)[:5]) or "none"
            raise ValueError(
                "neither `messages` nor `prompt` and `completion` nor `instruction` and `output` nor `conversations` "
                f"nor `text` is here; the keys are {found}"
            )
    if turns[-1].role != "assistant":
        raise ValueError("the last turn is not the assistant's, so there is nothing to learn from it")
    return turns


def _from_messages(messages: Any, name: str, role: str, content: str) -> list[Turn]:
    """Turns from the list under `name`, each with its role and content under these keys."""
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"`{name}` should be a list with at least one turn")
    turns = []
    for index, message in enumerate(messages, 1):
        if not isinstance(message, dict) or role not in message or content not in message:
            raise ValueError(f"turn {index} should have a `{role}` and a `{content}`")
        speaker, text = _role(message[role], role), _joined(message[content])
        turns.append(_turn(speaker, text, f"the {content} of turn {index}"))
    if any(turn.role == "system" for turn in turns[1:]):
        raise ValueError("a `system` turn may only come first")
    roles = [turn.role for turn in turns if turn.role != "system"]
    if any(role != ("user", "assistant")[place % 2] for place, role in enumerate(roles)):
        raise ValueError("turns should go user, assistant, user, assistant …")
    return turns


def _role(role: Any, key: str) -> Any:
    """A role by its usual name; ShareGPT, with the key `from`, has names of its own."""
    return _ROLES.get(role, role) if key == "from" and isinstance(role, str) else role


def _joined(content: Any) -> Any:
    """The parts of a content as one text, where all of them are text."""
    if not isinstance(content, list) or not content:
        return content
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    strings = [text for text in texts if isinstance(text, str)]
    return "".join(strings) if len(strings) == len(content) else content


def _turn(role: Any, content: Any, name: str) -> Turn:
    if role not in ("system", "user", "assistant"):
        raise ValueError(f"the role {role!r} is unknown: it should be system, user or assistant")
    return Turn(cast(Role, role), _content(content, name))


def _content(content: Any, name: str) -> str:
    if not isinstance(content, str):
        raise ValueError(f"{name} should be text, this is {_json_kind(content)}")
    if not content.strip():
        raise ValueError(f"{name} is empty")
    if _SURROGATE.search(content):
        raise ValueError(f"{name} holds half a surrogate pair, which is not text")
    return content


def _json_kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
