"""Whether a file of rows is fit to be trained on: what is in it, what is wrong with it, and why that matters.

The file is gone through once and never held. Of each row no more is kept than a few numbers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdemo.data import AnyRow, Examined, Labelled, Row, Text, examine
from ftdemo.data.atomic import atomic_write
from ftdemo.data.near_duplicates import LEAST, NearDuplicates
from ftdemo.data.pii import look_for
from ftdemo.data.rows import MIN_ROWS_TO_SPLIT
from ftdemo.data.split import fingerprint, letters
from ftdemo.data.tokenize import encode, refuse_control_tokens
from ftdemo.errors import DataError, StorageError, writing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHANGES = ".changes.txt"
"""What the name of a cleaned copy is followed by in that of the list of what was left out."""
_MOST_NAMED = 10
_FEW = 100
_LARGE_SHARE = 0.8
_TELL_EVERY = 10_000
_NAMES = {
    ("messages",): "`messages`, as OpenAI's rows have them",
    ("prompt", "completion"): "`prompt` and `completion`",
    ("instruction", "output"): "`instruction` and `output`, as Alpaca's rows have them",
    ("conversations",): "`conversations`, as ShareGPT's rows have them",
    ("text",): "`text` alone",
    ("text", "label"): "`text` with a `label`",
}


@dataclass
class Finding:
    """Something that whoever trains on these rows should know."""

    name: str
    says: str
    """What it is and why it matters, to be read after the number of rows."""
    page: str
    """The page of the site that explains it."""
    count: int = 0
    rows: list[int] = field(default_factory=list)
    """The lines of the first of them, from 1."""
    examples: list[str] = field(default_factory=list)

    def add(self, number: int, example: str = "") -> None:
        """Another row."""
        self.count += 1
        if len(self.rows) < _MOST_NAMED:
            self.rows.append(number)
            self.examples += [example] if example and example not in self.examples else []


@dataclass
class Report:
    """What was found in a file."""

    file: str
    model: str
    max_length: int
    rows: int = 0
    good: int = 0
    left_out: int = 0
    """Rows that a cleaned copy does without."""
    shapes: dict[str, int] = field(default_factory=dict)
    """Good rows, by the keys that they were known by."""
    tokens: int = 0
    """Of all good rows."""
    lengths: dict[int, int] = field(default_factory=dict)
    """Rows, by their number of tokens."""
    labels: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def median_length(self) -> int:
        """The number of tokens that half of the rows do not go beyond."""
        passed = 0
        for length, rows in sorted(self.lengths.items()):
            passed += rows
            if 2 * passed >= self.good:
                return length
        return 0

    def histogram(self) -> list[tuple[int, int, int]]:
        """Rows by length: shortest, longest, rows. Each bin goes to twice the length of the one before, from 16 on."""
        bins: Counter[int] = Counter()
        for length, rows in self.lengths.items():
            bins[max(16, 1 << (length - 1).bit_length())] += rows
        upto = (1 << place for place in range(4, max(bins, default=0).bit_length()))
        return [(1 if top == 16 else top // 2 + 1, top, bins[top]) for top in upto]

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        found = asdict(self)
        found.pop("lengths")
        bins = [{"from": low, "to": high, "rows": rows} for low, high, rows in self.histogram()]
        lengths = {"shortest": min(self.lengths, default=0), "longest": max(self.lengths, default=0)}
        return found | {"tokens_a_row": {**lengths, "median": self.median_length(), "histogram": bins}}


def check_file(
    path: Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    model: str = "",
    max_length: int = 512,
    against: Path | None = None,
    columns: Mapping[str, str] | None = None,
    fix: Path | None = None,
    tell: Callable[[int], None] | None = None,
) -> Report:
    """Go through a file of rows. It is not changed.

    Args:
        path: The file.
        tokenizer: That of the model which is to be trained; without it no tokens are counted and no lengths looked at.
        model: The model's name.
        max_length: How many tokens of a conversation or labelled text are trained on.
        against: Rows that the model is to be judged by, which should not be among these.
        columns: Our names for the file's own keys or columns, where they differ.
        fix: Where a cleaned copy goes: without rows that are unusable, hold a control token, have nothing left to
            train, stand there for the second time, or are to be judged by. Beside it goes a list of those.
        tell: Is told now and then how many rows were gone through.

    Returns:
        What is in the file, and what was found that matters, in the order of its weight.

    Raises:
        DataError: If a file cannot be read on, or is empty.
        StorageError: If there is a file already where the copy should go, or it cannot be written.
    """
    report = Report(str(path), model, max_length)
    looks = _Looks(tokenizer, max_length, _hashes_of(against, columns) if against else frozenset())
    shapes: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    labels: Counter[str] = Counter()
    with _copy(fix) as take:
        for seen in examine(path, columns):
            report.rows += 1
            if tell and report.rows % _TELL_EVERY == 0:
                tell(report.rows)
            if isinstance(seen.row, DataError):
                why = seen.row.what.removeprefix(f"{path}:{seen.number}: ")
                looks.bad.add(seen.number, why)
            else:
                report.good += 1
                shapes[_NAMES[seen.shape]] += 1
                length, why = looks.look_at(seen.row)
                lengths[length] += tokenizer is not None
                if isinstance(seen.row, Labelled):
                    labels[seen.row.label] += 1
            take(seen, why)
            report.left_out += bool(why)
    report.shapes, report.labels = dict(shapes), dict(labels.most_common())
    report.lengths = dict(lengths)
    report.tokens = sum(length * rows for length, rows in lengths.items())
    report.findings = [each for each in chain(looks.findings(), _of_all(report)) if each.count]
    return report


class _Looks:
    """What is looked for in each row."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None, max_length: int, judged_by: frozenset[int]) -> None:
        self._tokenizer, self._max_length, self._judged_by = tokenizer, max_length, judged_by
        self._rows: set[int] = set()
        self._letters: set[int] = set()
        self._answers: dict[int, int] = {}
        self._twins = NearDuplicates()
        own_data, twins = "guides/your-own-data/", "terms/data-contamination/"
        self.bad = Finding("bad", "unusable: training stops at the first of them", own_data)
        self._control = Finding(
            "control_tokens",
            "with a control token of the model inside, which would end a turn where there is none",
            "terms/token/",
        )
        self._dropped = Finding(
            "nothing_left",
            f"with nothing left to train within {max_length} tokens: dropped",
            "terms/context-window/",
        )
        self._cut = Finding(
            "cut",
            f"longer than {max_length} tokens: the end is cut, and with it the stop token",
            "terms/context-window/",
        )
        self._overlap = Finding(
            "overlap", "also among those to judge by: scores then tell what was learnt by heart", twins
        )
        self._twice = Finding(
            "duplicates",
            "the same as an earlier one: it counts twice, and one of the two may be held out and known",
            twins,
        )
        self._near = Finding(
            "near_duplicates", "an earlier one but for numbers, signs and capitals: scores may flatter", twins
        )
        self._other = Finding(
            "contradictions",
            "with another answer to what an earlier one asks: chance decides which is learned",
            own_data,
        )
        self._personal = Finding(
            "personal", "with what looks like personal data or a key: a model may repeat it", f"{own_data}#privacy"
        )

    def findings(self) -> Iterator[Finding]:
        """All that was looked for, the heaviest first."""
        yield from (self.bad, self._control, self._dropped, self._cut, self._overlap)
        yield from (self._twice, self._near, self._alike(), self._other, self._personal)

    def _alike(self) -> Finding:
        """Rows that only all rows together show to be alike."""
        says = f"with {LEAST:.0%} of words and pairs of words as an earlier one has them: scores may flatter"
        found = Finding("alike", says, self._near.page)
        for number in self._twins.later_ones():
            found.add(number)
        return found

    def look_at(self, row: AnyRow) -> tuple[int, str]:
        """Take a row in. Its number of tokens is returned, and why a cleaned copy does without it, if it does."""
        left_out = (self._control, self._dropped, self._overlap, self._twice)
        before = [finding.count for finding in left_out]
        length = self._length(row)
        self._compare(row)
        now = zip(left_out, before, strict=True)
        return length, next((finding.says for finding, count in now if finding.count > count), "")

    def _compare(self, row: AnyRow) -> None:
        asked, answer = _sides(row)
        same, bare = fingerprint(f"{asked}\n{answer}"), letters(asked + answer)
        if same in self._judged_by:
            self._overlap.add(row.number)
        if same in self._rows:
            self._twice.add(row.number)
        elif bare and fingerprint(bare) in self._letters:
            self._near.add(row.number)
        else:
            self._twins.add(row.number, f"{asked} {answer}")
            if asked and self._answers.setdefault(fingerprint(asked), same) != same:
                self._other.add(row.number)
        self._rows.add(same)
        self._letters.add(fingerprint(bare))
        if found := next(look_for(_text(row)), None):
            self._personal.add(row.number, f"{found.kind} {found.masked}")

    def _length(self, row: AnyRow) -> int:
        if self._tokenizer is None:
            return 0
        try:
            if not isinstance(row, Row):
                refuse_control_tokens(row.number, row.text, "the text", self._tokenizer)
                length = len(self._tokenizer(row.text, verbose=False)["input_ids"])
                if isinstance(row, Labelled) and length > self._max_length:
                    self._cut.add(row.number)
                return length
            example = encode(row, self._tokenizer, train_on="completion", max_length=2**30)
        except DataError as error:
            self._control.add(row.number, error.what)
            return len(self._tokenizer(_text(row), verbose=False)["input_ids"])
        if not any(example.completion_mask[: self._max_length]):
            self._dropped.add(row.number)
        elif len(example) > self._max_length:
            self._cut.add(row.number)
        return len(example)


@contextmanager
def _copy(out: Path | None) -> Iterator[Callable[[Examined, str], None]]:
    """Takes rows, each with why it is left out or nothing, and writes both files when all went well."""
    if out is None:
        yield lambda seen, why: None
        return
    changes = out.with_name(f"{out.name}{CHANGES}")
    for path in (out, changes):
        if path.exists():
            raise StorageError(f"{path} is there already.", "Name a file that is not there yet.")
    with (
        writing(out, "Check the folder and its permissions."),
        atomic_write(out) as rows,
        atomic_write(changes) as left_out,
        rows.open("wb") as kept,
        left_out.open("w", encoding="utf-8", errors="backslashreplace") as told,
    ):

        def take(seen: Examined, why: str) -> None:
            if why:
                told.write(f"line {seen.number}, left out: {why}\n")
            else:
                kept.write(_line(seen.value))

        yield take


def _line(value: Any) -> bytes:
    try:
        return f"{json.dumps(value, ensure_ascii=False, default=str)}\n".encode()
    except UnicodeEncodeError:  # half a surrogate pair, under a key that is not ours
        return f"{json.dumps(value, default=str)}\n".encode()


def _of_all(report: Report) -> Iterator[Finding]:
    """What is to be said of the file as a whole."""
    if report.good < MIN_ROWS_TO_SPLIT:
        says = f"fewer than {MIN_ROWS_TO_SPLIT}: none is held out, and nothing is judged"
        yield Finding("too_few_to_judge", says, "guides/your-own-data/#how-it-is-split", report.good)
    elif report.good < _FEW:
        says = "which is few: hundreds are a reported rule of thumb for a simple task"
        yield Finding("few", says, "guides/your-own-data/#how-many-rows", report.good)
    if report.labels:
        label, most = next(iter(report.labels.items()))
        if len(report.labels) == 1:
            yield Finding(
                "one_label", f"all of them {label!r}: there is nothing to tell apart", "terms/linear-probe/", most
            )
        elif most > _LARGE_SHARE * report.good:
            says = f"of {report.good:,} in all, with the label {label!r}: to say so always would be right that often"
            yield Finding("one_sided_labels", says, "terms/evaluation-set/", most)


def _text(row: AnyRow) -> str:
    """All that a row says, to the letter."""
    return "\n".join(turn.content for turn in row.turns) if isinstance(row, Row) else row.text


def _sides(row: AnyRow) -> tuple[str, str]:
    """What is asked and what is answered, in small letters and with single spaces; of a text there is no question."""
    match row:
        case Row():
            asked, answer = "\n".join(turn.content for turn in row.prompt), row.reference
        case Text():
            asked, answer = "", row.text
        case Labelled():
            asked, answer = row.text, row.label
    return " ".join(asked.casefold().split()), " ".join(answer.casefold().split())


def _hashes_of(path: Path, columns: Mapping[str, str] | None) -> frozenset[int]:
    rows = (seen.row for seen in examine(path, columns))
    return frozenset(fingerprint("\n".join(_sides(row))) for row in rows if not isinstance(row, DataError))
