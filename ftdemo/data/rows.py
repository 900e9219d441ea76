"""Rows: a conversation, a text, or a text with its label; read from a file and checked on the way in."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from ftdemo.data import constraints
from ftdemo.data.blank import is_blank
from ftdemo.data.files import SHAPES, Broken, values
from ftdemo.data.trial import Trial
from ftdemo.errors import DataError

Role = Literal["system", "user", "assistant", "tool"]
Extra = tuple[tuple[str, Any], ...]
"""Keys of a row or turn that carry meaning beside its text, with their values."""
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation."""

    role: Role
    content: str
    train: bool = True
    """False makes the turn context without a loss."""
    extra: Extra = ()
    """Its `tool_calls` or `reasoning_content`, say, which some chat templates render."""

    def as_message(self) -> dict[str, Any]:
        """The turn as chat templates expect it."""
        return {"role": self.role, "content": self.content, **dict(self.extra)}


@dataclass(frozen=True, slots=True)
class Row:
    """One conversation. `number` is its line in the file, from 1."""

    number: int
    turns: tuple[Turn, ...]
    constraints: constraints.Constraints = field(default_factory=dict)
    """What an answer has to fulfil, where the row names it: see `ftdemo.data.constraints`."""
    extra: Extra = ()
    """Its `tools`, which some chat templates render, and keys that no model reads, such as `images`."""

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All turns as chat templates expect them."""
        return [turn.as_message() for turn in self.turns]

    @property
    def tools(self) -> Sequence[dict[str, Any]]:
        """The tools that the assistant may call, as chat templates expect them."""
        return cast(Sequence[dict[str, Any]], dict(self.extra).get("tools", ()))

    @property
    def begins_with_assistant(self) -> bool:
        """Whether the assistant speaks first. That turn answers nobody, so it is not trained."""
        return next(turn.role for turn in self.turns if turn.role != "system") == "assistant"

    @property
    def text(self) -> str:
        """The contents of all turns, a line end between them."""
        return "\n".join(turn.content for turn in self.turns)

    @property
    def prompt(self) -> tuple[Turn, ...]:
        """The turns before the last trained assistant turn."""
        return self.turns[: self._last_assistant()]

    @property
    def reference(self) -> str:
        """The content of the last trained assistant turn."""
        return self.turns[self._last_assistant()].content

    def _last_assistant(self) -> int:
        return max(index for index, turn in enumerate(self.turns) if turn.role == "assistant" and turn.train)


@dataclass(frozen=True, slots=True)
class Text:
    """One running text. `number` is its line in the file, from 1."""

    number: int
    text: str
    extra: Extra = ()
    """Keys that carry meaning and that no model reads."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One text and the class it belongs to. `number` is its line in the file, from 1."""

    number: int
    text: str
    label: str
    extra: Extra = ()
    """Keys that carry meaning and that no model reads."""


AnyRow = Row | Text | Labelled
AnyPrompt = AnyRow | Trial
"""Anything that a model can be given to answer or to continue."""
_CONVERSATIONS = (("messages",), ("prompt", "completion"), ("instruction", "output"), ("conversations",))
"""The keys by which conversations are recognised: OpenAI's, TRL's, Alpaca's, ShareGPT's. The first that fit count."""
_WITH_HISTORY = (("prompt", "completion"), ("instruction", "output"))
"""Those with a single prompt, before which the turns of `history` come."""
KEYS = (*(key for keys in _CONVERSATIONS for key in keys), "input", "system", "history", "tools", "text", "label")
"""All keys of a row that training reads."""
_MEANINGFUL = (
    *("system", "history", "tools", "label", "weight", "train", "chosen", "rejected", "documents"),
    *("images", "image", "audios", "audio", "videos", "video"),
    *("tool_calls", "functions", "function_call", "reasoning_content", "reasoning", "thinking"),
)
"""Keys that mean something to other trainers, in a row or in a turn. `ftdemo` names those that it does not read."""
_TURN_KEYS = (
    *("tool_calls", "tool_call_id", "name", "function_call", "reasoning_content", "reasoning", "thinking"),
    *("images", "image", "audio", "video"),
)
_LOSS_KEYS = ("weight", "train", "loss")
"""Say whether a turn is trained: OpenAI's key, axolotl's, ms-swift's."""
_PAIR: tuple[tuple[Role, str], ...] = (("user", "prompt"), ("assistant", "completion"))
MISSING: tuple[Any, ...] = (None, "", [], {})
"""Values of a key that mean the same as no key."""
_ROLES = {"human": "user", "gpt": "assistant"}
_BEFORE: dict[str, tuple[str, ...]] = {
    "user": ("", "assistant"),
    "assistant": ("", "user", "tool"),
    "tool": ("assistant", "tool"),
}
"""Whose turn may come before whose; a conversation begins after an empty role."""
_KINDS: dict[type, str] = {Row: "a conversation", Text: "a text", Labelled: "a text with a label"}


def keys_of(shape: tuple[str, ...]) -> tuple[str, ...]:
    """The keys of a row of this shape that training reads, or reports if it does not."""
    beside_prompt = ("input",) if "instruction" in shape else ()
    return (*shape, *beside_prompt, "system", "history", "tools")


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
                what = f"{path}:{number}: this example is {_KINDS[type(row)]}, but each before it is {_KINDS[kind]}."
                raise DataError(what, "Use the same keys in every example, or split the file in two.")
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
    """Facts that change: the text as it was, as it is now, and a question about it.

    Args:
        path: Rows of a conversation that also have the text, under `old` and `new`: a passage, or a sentence of one.
        documents: The passages as they were.

    Raises:
        DataError: If a row is no conversation, or its `old` is in none of the documents.
    """
    changes = []
    for seen in examine(path):
        if isinstance(seen.row, DataError):
            raise seen.row
        old, new = (seen.value.get(key) for key in ("old", "new"))
        if not isinstance(seen.row, Row) or not isinstance(new, str) or not _occurs(old, documents):
            what = f"{path}:{seen.number}: `old` should be a sentence of the documents, `new` its replacement."
            raise DataError(what, 'Write {"old": …, "new": …, "prompt": …, "completion": …} with both in full.')
        changes.append((old, new, seen.row))
    return changes


def _occurs(text: Any, documents: Sequence[str]) -> bool:
    return isinstance(text, str) and bool(text) and any(text in document for document in documents)


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
        raise ValueError(f"this is {_json_kind(value)}, but a JSON object is expected")
    if "text" in value and not _shape(value):
        text = _content(value["text"], "text")
        if "label" in value:
            return Labelled(number, text, _label(value["label"]), _extra(value, _MEANINGFUL, but=("label",)))
        return Text(number, text, _extra(value, _MEANINGFUL))
    turns = _with_system(value, _turns(value))
    has_read_history = _shape(value) in _WITH_HISTORY and isinstance(value.get("history"), list)
    read = ("system", "tools", *(["history"] if has_read_history else ()))
    extra = _extra(value, _MEANINGFUL, but=read)
    tools = _objects(value.get("tools"), "tools")
    return Row(
        number,
        tuple(turns),
        constraints.validate_constraints(value.get("constraints", {})),
        (("tools", tools), *extra) if tools else extra,
    )


def _extra(value: Mapping[str, Any], keys: Sequence[str], but: Sequence[str] = ()) -> Extra:
    found = tuple((key, value[key]) for key in keys if key not in but and value.get(key) not in MISSING)
    for key, content in found:
        _refuse_surrogates(content, key)
    return found


def _label(label: Any) -> str:
    if isinstance(label, float) and math.isnan(label):
        raise ValueError("`label` is NaN, which means that it is missing")
    if isinstance(label, float) and label.is_integer():
        label = int(label)  # pandas writes whole numbers so, where a column has a gap
    if isinstance(label, int) and not isinstance(label, bool):
        return str(label)
    if not isinstance(label, str):
        kind = label if isinstance(label, float) else _json_kind(label)
        raise ValueError(f"`label` is {kind}, but it should be a word or a whole number")
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
            turns = [*_earlier(value), Turn("user", prompt), _turn("assistant", value["output"], "output")]
        case ("prompt", "completion"):
            question, answer = (_turn(role, value[key], key) for role, key in _PAIR)
            turns = [*_earlier(value), question, answer]
        case _:
            found = ", ".join(f"`{key}`" for key in list(value)[:5]) or "none"
            raise ValueError(
                "neither `messages` nor `prompt` and `completion` nor `instruction` and `output` nor `conversations` "
                f"nor `text` is here; the keys are {found}"
            )
    if turns[-1].role != "assistant":
        raise ValueError("the last turn is not the assistant's, so there is nothing to learn from it")
    if not any(turn.train for turn in turns if turn.role == "assistant"):
        raise ValueError("no assistant turn that follows another turn is trained, so there is nothing to learn from it")
    return turns


def _with_system(value: dict[str, Any], turns: list[Turn]) -> list[Turn]:
    """The turns after the system prompt that a row has beside them."""
    system = value.get("system")
    if system is None or (isinstance(system, str) and is_blank(system)):
        return turns
    first = Turn("system", _content(system, "system"))
    if turns[0].role != "system":
        return [first, *turns]
    if turns[0] != first:
        raise ValueError("`system` and the system turn differ: keep one of them")
    return turns


def _earlier(value: dict[str, Any]) -> Iterator[Turn]:
    """The turns before the prompt, from Alpaca's `history`; each answer among them is trained, too."""
    history = value.get("history")
    if not isinstance(history, list):
        return
    for index, pair in enumerate(history, 1):
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError('`history` should be a list of pairs such as [["question", "answer"]]')
        yield Turn("user", _content(pair[0], f"the question of pair {index} in `history`"))
        yield Turn("assistant", _content(pair[1], f"the answer of pair {index} in `history`"))


def _from_messages(messages: Any, name: str, role: str, content: str) -> list[Turn]:
    """Turns from the list under `name`, each with its role and content under these keys."""
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"`{name}` should be a list with at least one turn")
    turns = []
    for index, message in enumerate(messages, 1):
        calls = _objects(message.get("tool_calls"), "tool_calls") if isinstance(message, dict) else []
        if not isinstance(message, dict) or role not in message or not (content in message or calls):
            raise ValueError(f"turn {index} should have a `{role}` and a `{content}`")
        speaker, text = _role(message[role], role), _joined(message.get(content))
        may_be_empty = bool(calls) or speaker == "tool"
        turn = _turn(speaker, "" if calls and text is None else text, f"the {content} of turn {index}", may_be_empty)
        extra = _extra(message, _TURN_KEYS, but=("tool_calls",))
        if calls:
            extra = (("tool_calls", [_parsed_call(call) for call in calls]), *extra)
        turns.append(replace(turn, train=_is_trained(message, index, turn.role), extra=extra))
    _refuse_disorder(turns)
    begins = 1 if turns[0].role == "system" else 0
    if turns[begins:] and turns[begins].role == "assistant":  # it answers nobody
        turns[begins] = replace(turns[begins], train=False)
    return turns


def _refuse_disorder(turns: Sequence[Turn]) -> None:
    if any(turn.role == "system" for turn in turns[1:]):
        raise ValueError("a `system` turn may only come first")
    before = ""
    for turn in turns:
        if turn.role != "system":
            if before not in _BEFORE[turn.role]:
                raise ValueError("turns should alternate: user, assistant, user, assistant …")
            before = turn.role


def _is_trained(message: Mapping[str, Any], index: int, role: str) -> bool:
    """Whether a turn is trained, as its `weight` or `train` says."""
    wanted = {key: message[key] for key in _LOSS_KEYS if message.get(key) is not None}
    for key, value in wanted.items():
        if value not in (0, 1):
            raise ValueError(f"the `{key}` of turn {index} is {value!r}, but it should be 0 or 1, or true or false")
        if value and role != "assistant":
            raise ValueError(
                f"`{key}` asks to train turn {index}, but only the assistant's turns are trained by choice"
            )
    return all(wanted.values())


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    """A list of objects, which may be written as a text of JSON; empty if there is none."""
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(f"`{name}` should be a list of objects, but it is a text that is not JSON") from None
    if value in MISSING:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise ValueError(f"`{name}` should be a list of objects, as OpenAI's API has them")
    _refuse_surrogates(value, name)
    return value


def _refuse_surrogates(value: Any, name: str) -> None:
    if _SURROGATE.search(json.dumps(value, ensure_ascii=False, default=str)):
        raise ValueError(f"`{name}` holds half a surrogate pair, which is not text")


def _parsed_call(call: dict[str, Any]) -> dict[str, Any]:
    """A tool call with its arguments as an object: OpenAI writes them as a text, which templates would quote again."""
    function = call.get("function")
    arguments = function.get("arguments") if isinstance(function, dict) else None
    if not isinstance(arguments, str):
        return call
    try:
        parsed = json.loads(arguments)
    except (ValueError, RecursionError):
        return call
    _refuse_surrogates(parsed, "tool_calls")
    return {**call, "function": {**call["function"], "arguments": parsed}}


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


def _turn(role: Any, content: Any, name: str, may_be_empty: bool = False) -> Turn:
    if role not in ("system", "user", "assistant", "tool"):
        raise ValueError(f"the role {role!r} is unknown: it should be system, user, assistant or tool")
    if may_be_empty and isinstance(content, str) and is_blank(content):
        return Turn(cast(Role, role), "")
    return Turn(cast(Role, role), _content(content, name))


def _content(content: Any, name: str) -> str:
    if not isinstance(content, str):
        raise ValueError(f"{name} is {_json_kind(content)}, but it should be text")
    if is_blank(content):
        raise ValueError(f"{name} is empty")
    if _SURROGATE.search(content):
        raise ValueError(f"{name} holds half a surrogate pair, which is not text")
    return content


def _json_kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
