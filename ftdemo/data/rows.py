"""Rows: a conversation, a text, or a text with its label; read from a file or a built-in set and checked as they are.

A file is read once, and its rows are held. Only rows that take too much memory are read anew each time.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

from ftdemo.data import constraints, hub
from ftdemo.data.builtin import BUILT_IN, BuiltIn
from ftdemo.data.files import SHAPES, Broken, values
from ftdemo.data.split import choose_heldout
from ftdemo.data.trial import Trial
from ftdemo.errors import DataError

Role = Literal["system", "user", "assistant"]
_SURROGATE = re.compile("[\ud800-\udfff]")
_HELDOUT_SHARE = 0.1
_MAX_HELDOUT = 60
_TRAIN = "train.jsonl"
MIN_ROWS_TO_SPLIT = 10
"""Of a file with fewer rows none is held out."""
_HELD_BYTES = 2**28
"""The most memory that held rows may take: half of SmolLM2's weights in float32, so a machine that trains has room.

The rows are measured as they are read, because the size on disk says little: gzip and Parquet unpack to any multiple of
it, and a row of 100 bytes takes about five times as much as a Python object.
"""
_ROW_BYTES, _TEXT_BYTES = 200, 56
"""What CPython takes for a row and for each of its turns, besides the text (measured with tracemalloc)."""
_TRIALS = 200
"""Half of them questions: an interval of 95% is then about 9 points to either side."""
_HELDOUT_PAIRS = 100
_HELDOUT_SEED = 2**32
"""Beyond every seed that a recipe can name, so that held-out texts are never trained on."""


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


@dataclass(frozen=True)
class StreamedRows:
    """Rows too many to hold: read, or generated, anew each time they are iterated over."""

    read: Callable[[], Iterator[AnyRow]]
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[AnyRow]:
        return islice(self.read(), self.count)


Rows = tuple[AnyRow, ...] | StreamedRows


@dataclass(frozen=True)
class Splits:
    """Rows to train on and rows to evaluate on. No row is in both."""

    train: Rows
    heldout: tuple[AnyRow, ...]
    trials: tuple[Trial, ...] = ()
    """For generated texts: the openings whose continuations are scored."""

    @property
    def prompts(self) -> tuple[AnyPrompt, ...]:
        """What a model answers before and after training."""
        return self.trials or self.heldout


def load_splits(data: str, *, seed: int, examples: int | None = None) -> Splits:
    """The rows of a built-in data set, a file or a folder, split into training and held-out rows.

    A built-in set brings its own held-out rows, and so do a folder with ``train.jsonl`` and ``heldout.jsonl``, and a
    data set on the Hub with a split called test or validation (60 rows of it). From a file, or from a folder of texts,
    with ten rows or more a seeded tenth (60 rows at most) is held out, as `split.choose_heldout` describes.
    `examples` then keeps the first N training rows.

    A file is opened once, unless its rows take more than 256 MiB of memory. Nothing is kept for the next call, so that
    a file which has changed in between is read anew.

    Raises:
        DataError: If there is no such data, or a row that is needed cannot be read.
    """
    if data in BUILT_IN:
        return _built_in(BUILT_IN[data], seed, examples)
    path = Path(data) if hub.is_id(data) else _existing(data)
    if hub.is_id(data) and hub.has_heldout(data):
        judged = (_read(path, number, value) for number, value in enumerate(hub.iterate_rows(data, heldout=True), 1))
        return Splits(_first_rows(path, examples), tuple(islice(judged, _MAX_HELDOUT)))
    if (path / _TRAIN).is_file():
        heldout = path / "heldout.jsonl"
        return Splits(_first_rows(path / _TRAIN, examples), tuple(stream_rows(heldout)) if heldout.is_file() else ())
    return _split_file(path, seed, examples)


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
            row = _read(path, number, value)
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


def _built_in(built_in: BuiltIn, seed: int, examples: int | None) -> Splits:
    if built_in.documents is not None:
        return _generated_texts(built_in, seed, examples)
    if built_in.pairs is not None:
        return _generated_pairs(built_in, seed, examples)
    return Splits(_first_rows(built_in.train, examples), tuple(stream_rows(built_in.heldout)))


def _generated_texts(built_in: BuiltIn, seed: int, examples: int | None) -> Splits:
    """Endless texts. Chats to train on are conversations, so that a model learns its chat template."""
    documents, turns = built_in.documents, built_in.turns or (lambda _: [])
    assert documents is not None

    def generate() -> Iterator[AnyRow]:
        for number, text in enumerate(documents(seed), 1):
            contents = enumerate(turns(text))
            chat = tuple(Turn(("user", "assistant")[place % 2], content) for place, content in contents)
            yield Row(number, chat) if chat else Text(number, text)

    heldout = (Text(number, text) for number, text in enumerate(islice(documents(_HELDOUT_SEED), _MAX_HELDOUT), 1))
    trials = islice(built_in.trials(_HELDOUT_SEED), _TRIALS) if built_in.trials else ()
    return Splits(StreamedRows(generate, examples or built_in.default_rows), tuple(heldout), tuple(trials))


def _generated_pairs(built_in: BuiltIn, seed: int, examples: int | None) -> Splits:
    """Endless requests with their answers."""
    pairs = built_in.pairs
    assert pairs is not None

    def generate(*, heldout: bool) -> Iterator[AnyRow]:
        found = pairs(_HELDOUT_SEED if heldout else seed, heldout=heldout)
        return (_row(number, value) for number, value in enumerate(found, 1))

    train = StreamedRows(lambda: generate(heldout=False), examples or built_in.default_rows)
    return Splits(train, tuple(islice(generate(heldout=True), _HELDOUT_PAIRS)))


def _existing(data: str) -> Path:
    path = Path(data)
    try:
        is_there = path.exists()
    except OSError as error:
        what = f"{data} cannot be read: {error.strerror or error}."
        raise DataError(what, "Check the path and its permissions.") from None
    if not is_there:
        known = ", ".join(BUILT_IN)
        raise DataError(f"No data called {data}: no such file here.", f"Give a JSONL file, or a built-in set: {known}.")
    return path


def _first_rows(path: Path, examples: int | None) -> Rows:
    return _hold(lambda: islice(stream_rows(path), examples))


def _hold(read: Callable[[], Iterator[AnyRow]]) -> Rows:
    """Rows as a tuple, or, where that would take too much memory, to be read anew each time."""
    held: list[AnyRow] = []
    count = size = 0
    for row in read():
        count += 1
        size += _memory(row)
        if size <= _HELD_BYTES:
            held.append(row)
        else:
            held.clear()
    return tuple(held) if size <= _HELD_BYTES else StreamedRows(read, count)


def _memory(row: AnyRow) -> int:
    """About how many bytes of memory a row takes."""
    texts = [turn.content for turn in row.turns] if isinstance(row, Row) else [row.text]
    return _ROW_BYTES + sum(_TEXT_BYTES + sys.getsizeof(text) for text in texts)


def _split_file(path: Path, seed: int, examples: int | None) -> Splits:
    rows = _hold(lambda: stream_rows(path))
    held = min(_MAX_HELDOUT, max(1, round(len(rows) * _HELDOUT_SHARE))) if len(rows) >= MIN_ROWS_TO_SPLIT else 0
    chosen = choose_heldout(map(_text_and_label, rows), held=held, seed=seed) if held else frozenset()

    def part(*, heldout: bool) -> Iterator[AnyRow]:
        return (row for place, row in enumerate(rows) if (place in chosen) == heldout)

    train = StreamedRows(lambda: part(heldout=False), min(len(rows) - len(chosen), examples or len(rows)))
    return Splits(tuple(train) if isinstance(rows, tuple) else train, tuple(part(heldout=True)) if held else ())


def _text_and_label(row: AnyRow) -> tuple[str, str]:
    match row:
        case Row():
            return "\n".join(turn.content for turn in row.turns), ""
        case Labelled():
            return row.text, row.label
        case Text():
            return row.text, ""


def _read(path: Path, number: int, value: Any) -> AnyRow:
    try:
        if isinstance(value, Broken):
            raise ValueError(value.reason)
        return _row(number, value)
    except ValueError as error:
        raise DataError(f"{path}:{number}: {error}.", SHAPES) from None


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
