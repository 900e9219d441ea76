"""Rows: a conversation, a text, or a text with its label; read from a file or a built-in set, checked on the way in.

Training rows are streamed, never held: a file may be larger than memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

from ftdemo.data import constraints, hub
from ftdemo.data.builtin import BUILT_IN, BuiltIn
from ftdemo.data.files import SHAPES, Broken, count_rows, texts_in, values
from ftdemo.data.split import choose_heldout
from ftdemo.data.trial import Trial
from ftdemo.errors import DataError

Role = Literal["system", "user", "assistant"]
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")
_HELDOUT_SHARE = 0.1
_MAX_HELDOUT = 60
_TRAIN = "train.jsonl"
MIN_ROWS_TO_SPLIT = 10
"""Of a file with fewer rows none is held out."""
_TRIALS = 200
"""Half of them questions: an interval of 95% is then some 9 points to either side."""
_HELDOUT_PAIRS = 100
_HELDOUT_SEED = 2**32
"""Beyond every seed that a recipe can name, so that held-out texts are never trained on."""


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
    constraints: constraints.Constraints = field(default_factory=dict)
    """What an answer has to keep to, where the row says so: see `ftdemo.data.constraints`."""

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
class Text:
    """One running text. `number` is its line in the file, from 1."""

    number: int
    text: str


@dataclass(frozen=True)
class Labelled:
    """One text and the class it belongs to. `number` is its line in the file, from 1."""

    number: int
    text: str
    label: str


AnyRow = Row | Text | Labelled
Asked = AnyRow | Trial
"""What a model can be asked."""
_CONVERSATIONS = (("messages",), ("prompt", "completion"), ("instruction", "output"), ("conversations",))
"""Keys of the shapes that conversations are met in: OpenAI's, TRL's, Alpaca's, ShareGPT's. The first to fit counts."""
KEYS = (*(key for keys in _CONVERSATIONS for key in keys), "input", "text", "label")
"""All keys that a row may have to be trained on."""
_SPEAKERS = {"human": "user", "gpt": "assistant"}
_KINDS: dict[type, str] = {Row: "a conversation", Text: "a text", Labelled: "a text with a label"}


@dataclass(frozen=True)
class Rows:
    """Rows that are read anew each time they are gone through, so that none is held."""

    read: Callable[[], Iterator[AnyRow]]
    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[AnyRow]:
        return islice(self.read(), self.count)


@dataclass(frozen=True)
class Splits:
    """Rows to train on and rows to judge by. No row is in both."""

    train: Rows
    heldout: tuple[AnyRow, ...]
    trials: tuple[Trial, ...] = ()
    """For generated texts: what a model that goes on with them is scored by."""

    @property
    def prompts(self) -> tuple[Asked, ...]:
        """What a model is asked, before and after."""
        return self.trials or self.heldout


def load_splits(data: str, *, seed: int, examples: int | None = None) -> Splits:
    """The rows of a built-in data set, a file or a folder, parted into training and held-out rows.

    A built-in set brings its own held-out rows, and so do a folder, ``train.jsonl`` and ``heldout.jsonl``, and a data
    set on the Hub that has a split called test or validation (60 rows of it). Of a file,
    or of a folder of texts, with ten rows or more a seeded tenth (60 rows at most) is held out, as `split.choose` says.
    `examples` then keeps the first N training rows.

    Raises:
        DataError: If there is no such data or it cannot be read. A malformed training row is told of when the rows are
            gone through.
    """
    if data not in BUILT_IN:
        path = Path(data) if hub.is_id(data) else _existing(data)
        if hub.is_id(data) and hub.has_heldout(data):
            return _from_hub(path, examples)
        return _from_folder(path, examples) if (path / _TRAIN).is_file() else _split_file(path, seed, examples)
    built_in = BUILT_IN[data]
    if built_in.documents is not None:
        return _generated(built_in, seed, examples)
    if built_in.pairs is not None:
        return _generated_pairs(built_in, seed, examples)
    train = Rows(lambda: stream_rows(built_in.train), count_rows(built_in.train))
    return Splits(_first(train, examples), tuple(stream_rows(built_in.heldout)))


def read_rows(path: Path) -> list[AnyRow]:
    """All rows of a file at once, for a file that is known to be small."""
    return list(stream_rows(path))


def stream_rows(path: Path) -> Iterator[AnyRow]:
    """The rows of a file, in order. Blank lines are passed over.

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
    """The keys by which it was known; there are none where it is bad."""
    row: AnyRow | DataError
    value: Any
    """What the file holds there, by our names."""


def examine(path: Path, columns: Mapping[str, str] | None = None) -> Iterator[Examined]:
    """The rows of a file, in order, the bad ones among them with what is wrong.

    Args:
        path: The file.
        columns: Our names for the file's own keys or columns, where they differ.

    Raises:
        DataError: If the file cannot be read on, or is empty: file and line are named.
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
                raise DataError(what, "Give every row the same keys, or part the file in two.")
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
        DataError: If a row is none, or names a passage that is not among the documents.
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
        most: How many faults are looked for.

    Returns:
        Sentences with file and line, and how many rows are good; with `most` faults, of those before the last fault.
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


def _generated(built_in: BuiltIn, seed: int, examples: int | None) -> Splits:
    """Texts that never end. Of those to train on, chats are conversations, so that a model meets its chat template."""
    documents, turns = built_in.documents, built_in.turns or (lambda _: [])
    assert documents is not None

    def read() -> Iterator[AnyRow]:
        for number, text in enumerate(documents(seed), 1):
            said = [Turn(("user", "assistant")[place % 2], words) for place, words in enumerate(turns(text))]
            yield Row(number, tuple(said)) if said else Text(number, text)

    heldout = (Text(number, text) for number, text in enumerate(islice(documents(_HELDOUT_SEED), _MAX_HELDOUT), 1))
    trials = islice(built_in.trials(_HELDOUT_SEED), _TRIALS) if built_in.trials else ()
    return Splits(Rows(read, examples or built_in.default_rows), tuple(heldout), tuple(trials))


def _generated_pairs(built_in: BuiltIn, seed: int, examples: int | None) -> Splits:
    """Requests that never end, with their answers."""
    pairs = built_in.pairs
    assert pairs is not None

    def read(*, heldout: bool) -> Iterator[AnyRow]:
        found = pairs(_HELDOUT_SEED if heldout else seed, heldout=heldout)
        return (_row(number, value) for number, value in enumerate(found, 1))

    train = Rows(lambda: read(heldout=False), examples or built_in.default_rows)
    return Splits(train, tuple(islice(read(heldout=True), _HELDOUT_PAIRS)))


def _first(rows: Rows, examples: int | None) -> Rows:
    return Rows(rows.read, min(len(rows), examples or len(rows)))


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


def _from_folder(folder: Path, examples: int | None) -> Splits:
    train, heldout = folder / _TRAIN, folder / "heldout.jsonl"
    rows = Rows(lambda: stream_rows(train), max(1, count_rows(train)))
    return Splits(_first(rows, examples), tuple(stream_rows(heldout)) if heldout.is_file() else ())


def _from_hub(path: Path, examples: int | None) -> Splits:
    judged = (_read(path, number, value) for number, value in enumerate(hub.iterate_rows(str(path), heldout=True), 1))
    return Splits(
        _first(Rows(lambda: stream_rows(path), count_rows(path)), examples), tuple(islice(judged, _MAX_HELDOUT))
    )


def _read(path: Path, number: int, value: Any) -> AnyRow:
    try:
        if isinstance(value, Broken):
            raise ValueError(value.reason)
        return _row(number, value)
    except ValueError as error:
        raise DataError(f"{path}:{number}: {error}.", SHAPES) from None


def _row(number: int, value: Any) -> AnyRow:
    """The row that a parsed line holds; its keys say of which kind it is.

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
    """The keys by which a row is known as a conversation, empty where it is none."""
    return next((keys for keys in _CONVERSATIONS if all(key in value for key in keys)), ())


def _turns(value: dict[str, Any]) -> list[Turn]:
    """The turns of a conversation, in whichever of the shapes that are met with."""
    match _shape(value):
        case ("messages",):
            turns = _from_messages(value["messages"], "messages", "role", "content")
        case ("conversations",):
            turns = _from_messages(value["conversations"], "conversations", "from", "value")
        case ("instruction", "output"):
            asked = _content(value["instruction"], "instruction")
            more = value.get("input") or ""
            asked = f"{asked}\n\n{_content(more, 'input')}" if more else asked
            turns = [Turn("user", asked), _turn("assistant", value["output"], "output")]
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
    """Turns from a list under this name, whose parts say under these keys who speaks, and what."""
    if not isinstance(messages, list) or not messages:
        raise ValueError(f"`{name}` should be a list with at least one turn")
    turns = []
    for index, message in enumerate(messages, 1):
        if not isinstance(message, dict) or role not in message or content not in message:
            raise ValueError(f"turn {index} should have a `{role}` and a `{content}`")
        said = _joined(message[content])
        turns.append(_turn(_speaker(message[role], role), said, f"the {content} of turn {index}"))
    if any(turn.role == "system" for turn in turns[1:]):
        raise ValueError("a `system` turn may only come first")
    spoken = [turn.role for turn in turns if turn.role != "system"]
    if any(role != ("user", "assistant")[place % 2] for place, role in enumerate(spoken)):
        raise ValueError("turns should go user, assistant, user, assistant …")
    return turns


def _speaker(role: Any, key: str) -> Any:
    """Who speaks, by the names that are used under the key `from` too."""
    return _SPEAKERS.get(role, role) if key == "from" and isinstance(role, str) else role


def _joined(content: Any) -> Any:
    """A content in parts as one text, where all parts are text."""
    if not isinstance(content, list) or not content:
        return content
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    said = [text for text in texts if isinstance(text, str)]
    return "".join(said) if len(said) == len(content) else content


def _turn(role: Any, content: Any, name: str) -> Turn:
    if role not in ("system", "user", "assistant"):
        raise ValueError(f"the role {role!r} is unknown: it should be system, user or assistant")
    return Turn(cast(Role, role), _content(content, name))


def _content(content: Any, name: str) -> str:
    if not isinstance(content, str):
        raise ValueError(f"{name} should be text, this is {_json_kind(content)}")
    if not content.strip():
        raise ValueError(f"{name} is empty")
    if _HALF_A_PAIR.search(content):
        raise ValueError(f"{name} holds half a surrogate pair, which is no text")
    return content


def _json_kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _split_file(path: Path, seed: int, examples: int | None) -> Splits:
    total = count_rows(path)
    if total < MIN_ROWS_TO_SPLIT:
        return Splits(_first(Rows(lambda: stream_rows(path), max(total, 1)), examples), ())
    held = min(_MAX_HELDOUT, max(1, round(total * _HELDOUT_SHARE)))
    files = texts_in(path) if path.is_dir() else [] if hub.is_id(str(path)) else [path]
    chosen = _held_out(path, max((file.stat().st_mtime_ns for file in files), default=0), held, seed)

    def read(*, heldout: bool) -> Iterator[AnyRow]:
        return (row for index, row in enumerate(stream_rows(path)) if (index in chosen) == heldout)

    train = Rows(lambda: read(heldout=False), total - len(chosen))
    return Splits(_first(train, examples), tuple(read(heldout=True)))


@lru_cache(maxsize=16)
def _held_out(path: Path, _changed: int, held: int, seed: int) -> frozenset[int]:
    """The places of the rows that are held out, for as long as the file is not changed."""
    return choose_heldout((_known_by(seen.row) for seen in examine(path)), held=held, seed=seed)


def _known_by(row: AnyRow | DataError) -> tuple[str, str]:
    """What tells a row from others, and its label; a bad one is told of when the rows are gone through."""
    match row:
        case Row():
            return "\n".join(turn.content for turn in row.turns), ""
        case Labelled():
            return row.text, row.label
        case Text():
            return row.text, ""
    return row.what, ""
