"""Whether a file is fit to train on: what is in it, what is wrong with it, and why that matters.

The file is read once and its rows are never held, because people check files that are larger than those they train on.
Memory is about 400 bytes per row, however long the rows are.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdemo.data import AnyRow, Examined, Labelled, Row, Text, examine
from ftdemo.data.atomic import atomic_write, require_place
from ftdemo.data.near_duplicates import MIN_OVERLAP, NearDuplicates
from ftdemo.data.pii import find_pii
from ftdemo.data.rows import MISSING, Turn, keys_of
from ftdemo.data.split import MIN_ROWS_TO_SPLIT, fingerprint, near_duplicate_key
from ftdemo.data.tokenize import (
    EmptyTurnError,
    TemplateRefusalError,
    encode,
    refuse_control_tokens,
    unread_keys,
)
from ftdemo.errors import DataError, writing

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHANGES = ".changes.txt"
"""The ending, after the name of a cleaned copy, of the list of rows that were left out."""
_MOST_NAMED = 10
_FEW_ROWS = 100
_LARGE_SHARE = 0.8
_PROGRESS_EVERY = 10_000
_MISSING_LABELS = {"nan", "none", "null", "n/a", "na", "<na>", "nil", "undefined"}
_NEVER_READ = "with `{key}`, which has no effect on training: the model reads the text alone"
_NOT_RENDERED = "with `{key}`, which the chat template of {model} leaves out: the model never reads it"
_PERHAPS_RENDERED = "with `{key}`, which only some models read: it is up to their chat templates"
_OTHER_KEYS = 20
"""How many keys that mean nothing to any trainer are listed."""
_NAMES = {
    ("messages",): "`messages`, as OpenAI's rows have them",
    ("prompt", "completion"): "`prompt` and `completion`",
    ("instruction", "output"): "`instruction` and `output`, as Alpaca's rows have them",
    ("conversations",): "`conversations`, as ShareGPT's rows have them",
    ("text",): "`text` alone",
    ("text", "label"): "`text` with a `label`",
}


_USER_DATA, _WINDOW, _CONTAMINATION = "guides/your-own-data/", "terms/context-window/", "terms/data-contamination/"
_SETS = "terms/evaluation-set/"
_FINDINGS = {
    "bad": ("unusable: training stops at the first of them", _USER_DATA),
    "empty_calls": (
        "with a turn of only `tool_calls`, which the chat template of {model} leaves out: training stops at the first",
        f"{_USER_DATA}#keys-that-carry-meaning",
    ),
    "control_tokens": ("containing a control token of the model, which would end a turn too early", "terms/token/"),
    "refused": ("that the model's chat template rejects: training stops at the first of them", "terms/sft/"),
    "unknown_tokens": ("with a token that {model} has no embedding for: training stops at the first", "terms/token/"),
    "nothing_left": ("with nothing left to train within {max_length} tokens: dropped", _WINDOW),
    "cut": ("longer than {max_length} tokens: the end is cut, and with it the stop token", _WINDOW),
    "overlap": ("also in the evaluation file: scores would measure what the model memorised", _CONTAMINATION),
    "duplicates": (
        "the same as an earlier one: it counts twice, and one of the two may be held out",
        _CONTAMINATION,
    ),
    "near_duplicates": (
        "the same as an earlier one except for numbers, punctuation and capitals: scores may be too high",
        _CONTAMINATION,
    ),
    "similar": (
        f"sharing {MIN_OVERLAP:.0%} of their words and word pairs with an earlier one: scores may be too high",
        _CONTAMINATION,
    ),
    "contradictions": (
        "with the same prompt as an earlier one but another answer: chance decides which is learnt",
        _USER_DATA,
    ),
    "assistant_begins": (
        "beginning with an assistant turn, which answers nothing: it is read as context and not trained",
        f"{_USER_DATA}#keys-that-carry-meaning",
    ),
    "missing_labels": (
        "with a label that programs use for a missing value: it is trained as a class of its own",
        _USER_DATA,
    ),
    "personal": (
        "with text that looks like personal data or a key: a model may repeat it",
        f"{_USER_DATA}#privacy",
    ),
}
"""Faults of single rows, the most serious first: how each continues after the number of rows, and its page."""
_LEFT_OUT = ("empty_calls", "control_tokens", "refused", "unknown_tokens", "nothing_left", "overlap", "duplicates")
"""Faults for which a cleaned copy leaves out a row, besides the unusable ones."""


@dataclass
class Finding:
    """A fact about some rows that matters before training on them."""

    name: str
    says: str
    """What it is and why it matters, to follow the number of rows."""
    page: str
    """The page of the site that explains it."""
    count: int = 0
    rows: list[int] = field(default_factory=list)
    """The lines of the first ten, from 1."""
    examples: list[str] = field(default_factory=list)

    def add(self, number: int, example: str = "") -> None:
        """Count another row."""
        self.count += 1
        if len(self.rows) < _MOST_NAMED:
            self.rows.append(number)
            self.examples += [example] if example and example not in self.examples else []


@dataclass
class Report:
    """The content of a file, and the findings about it."""

    file: str
    model: str
    max_length: int
    rows: int = 0
    good: int = 0
    left_out: int = 0
    """Rows that a cleaned copy leaves out."""
    shapes: dict[str, int] = field(default_factory=dict)
    """Good rows, by the keys by which they were recognised."""
    tokens: int = 0
    """Tokens of all good rows."""
    lengths: dict[int, int] = field(default_factory=dict)
    """Rows, by their number of tokens."""
    labels: dict[str, int] = field(default_factory=dict)
    other_keys: dict[str, int] = field(default_factory=dict)
    """Good rows, by the keys that they have and that nothing reads."""
    findings: list[Finding] = field(default_factory=list)

    def median_length(self) -> int:
        """The number of tokens that half of the rows do not exceed."""
        passed = 0
        for length, rows in sorted(self.lengths.items()):
            passed += rows
            if 2 * passed >= self.good:
                return length
        return 0

    def histogram(self) -> list[tuple[int, int, int]]:
        """Rows by length: shortest, longest, rows. Each bin ends at twice the length of the one before, from 16 on."""
        bins: Counter[int] = Counter()
        for length, rows in self.lengths.items():
            bins[max(16, 1 << (length - 1).bit_length())] += rows
        upto = (1 << place for place in range(4, max(bins, default=0).bit_length()))
        return [(1 if top == 16 else top // 2 + 1, top, bins[top]) for top in upto]

    def as_dict(self) -> dict[str, Any]:
        """The report as a JSON object."""
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
    known_tokens: int | None = None,
    max_length: int = 512,
    against: Path | None = None,
    columns: Mapping[str, str] | None = None,
    fix: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Check a file of rows. The file is not changed.

    Args:
        path: The file.
        tokenizer: The tokenizer of the model to train; without it, tokens and lengths are not checked.
        model: The model's name.
        known_tokens: For how many tokens the model has an embedding, if its tokenizer may have more.
        max_length: Tokens of a conversation or labelled text that are trained on.
        against: Rows to evaluate on, which should not be among these.
        columns: Our names for the file's own keys or columns, where they differ.
        fix: Where to write a cleaned copy: without rows that are unusable, contain a control token, have nothing left
            to train, are duplicates, or are also to be evaluated on. A list of those is written beside it.
        progress: Is called with the number of rows read so far, every 10,000 rows.

    Returns:
        What is in the file, and the findings that matter, the most serious first.

    Raises:
        DataError: If a file cannot be read to its end, or is empty.
        UsageError: If the copy's file exists already.
        StorageError: If it cannot be written.
    """
    report = Report(str(path), model, max_length)
    heldout = _Heldout.of(against, columns) if against else _Heldout()
    checks = _RowChecks(tokenizer, model, known_tokens, max_length, heldout.fingerprints)
    shapes: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    with _copy(fix) as keep:
        for seen in examine(path, columns):
            report.rows += 1
            if progress and report.rows % _PROGRESS_EVERY == 0:
                progress(report.rows)
            if isinstance(seen.row, DataError):
                why = seen.row.what.removeprefix(f"{path}:{seen.number}: ")
                checks.findings["bad"].add(seen.number, why)
            else:
                report.good += 1
                shapes[_NAMES[seen.shape]] += 1
                length, why = checks.check(seen.row)
                lengths[length] += tokenizer is not None
                checks.count_keys(seen.value, seen.shape)
            keep(seen, why)
            report.left_out += bool(why)
    report.shapes, report.lengths, report.labels = dict(shapes), dict(lengths), dict(checks.labels.most_common())
    report.tokens = sum(length * rows for length, rows in lengths.items())
    report.other_keys = dict(checks.other_keys.most_common(_OTHER_KEYS))
    report.findings = [*checks.findings_about_rows(heldout.labels), *_findings_about_all(report)]
    return report


class _RowChecks:
    """The checks of single rows, and the rows in which each found a fault, by its name."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None,
        model: str,
        known_tokens: int | None,
        max_length: int,
        heldout: frozenset[int],
    ) -> None:
        self._known_tokens = known_tokens
        self._tokenizer, self._model, self._max_length, self._heldout = tokenizer, model, max_length, heldout
        self._rows: set[int] = set()
        self._keys: set[int] = set()
        self._answers: dict[int, int] = {}
        self._texts = NearDuplicates()
        self.findings = {
            name: Finding(name, says.format(max_length=max_length, model=model), page)
            for name, (says, page) in _FINDINGS.items()
        }
        self.unread: dict[str, Finding] = {}
        """By key, the rows of which the model does not read it."""
        self.other_keys: Counter[str] = Counter()
        self.labels: Counter[str] = Counter()
        self.first_of_label: dict[str, int] = {}

    def check(self, row: AnyRow) -> tuple[int, str]:
        """Check a row. Its number of tokens is returned, and the reason why a cleaned copy leaves it out, if any."""
        left_out = [self.findings[name] for name in _LEFT_OUT]
        before = [finding.count for finding in left_out]
        length = self._length(row)
        self._compare(row)
        self._check_keys(row)
        if found := next(find_pii(row.text), None):
            self.findings["personal"].add(row.number, f"{found.kind} {found.masked}")
        counts = zip(left_out, before, strict=True)
        return length, next((finding.says for finding, count in counts if finding.count > count), "")

    def count_keys(self, value: dict[str, Any], shape: tuple[str, ...]) -> None:
        """Count the keys of a good row that nothing reads and no other finding names: a misspelt one, perhaps."""
        read = {*keys_of(shape), "constraints", *self.unread}
        self.other_keys.update(key for key in value if key not in read and value[key] not in MISSING)

    def _check_keys(self, row: AnyRow) -> None:
        try:
            keys = unread_keys(row, self._tokenizer)
        except TemplateRefusalError:  # which `_length` has counted
            return
        for key in keys:
            if key not in self.unread:
                of_template = isinstance(row, Row) and key not in (name for name, _ in row.extra if name != "tools")
                says = (_NEVER_READ, _NOT_RENDERED if self._tokenizer else _PERHAPS_RENDERED)[of_template]
                says = says.format(key=key, model=self._model)
                self.unread[key] = Finding(f"unread_{key}", says, f"{_USER_DATA}#keys-that-carry-meaning")
            self.unread[key].add(row.number)
        if isinstance(row, Row) and row.begins_with_assistant:
            self.findings["assistant_begins"].add(row.number)
        if isinstance(row, Labelled):
            self.labels[row.label] += 1
            self.first_of_label.setdefault(row.label, row.number)
            if row.label.strip().casefold() in _MISSING_LABELS:
                self.findings["missing_labels"].add(row.number, f"label {row.label!r}")

    def findings_about_rows(self, heldout_labels: Mapping[str, int]) -> Iterator[Finding]:
        """All findings about single rows and labels, once every row was checked."""
        for number in self._texts.repeated():
            self.findings["similar"].add(number)
        about_labels = _findings_about_labels(self.labels, self.first_of_label, heldout_labels)
        found = (*self.findings.values(), *self.unread.values(), *about_labels)
        yield from (finding for finding in found if finding.count)

    def _compare(self, row: AnyRow) -> None:
        prompt, answer = _prompt_and_answer(row)
        same, key = fingerprint(f"{prompt}\n{answer}"), near_duplicate_key(prompt + answer)
        if same in self._heldout:
            self.findings["overlap"].add(row.number)
        if same in self._rows:
            self.findings["duplicates"].add(row.number)
        elif key and fingerprint(key) in self._keys:
            self.findings["near_duplicates"].add(row.number)
        else:
            self._texts.add(row.number, f"{prompt} {answer}")
            if prompt and self._answers.setdefault(fingerprint(prompt), same) != same:
                self.findings["contradictions"].add(row.number)
        self._rows.add(same)
        self._keys.add(fingerprint(key))

    def _length(self, row: AnyRow) -> int:
        if self._tokenizer is None:
            return 0
        try:
            if not isinstance(row, Row):
                refuse_control_tokens(row.number, row.text, "the text", self._tokenizer)
                ids = self._tokenizer(row.text, verbose=False)["input_ids"]
                self._check_tokens(row.number, ids)
                length = len(ids)
                if isinstance(row, Labelled) and length > self._max_length:
                    self.findings["cut"].add(row.number)
                return length
            example = encode(row, self._tokenizer, train_on="completion", max_length=2**30)
        except EmptyTurnError:
            self.findings["empty_calls"].add(row.number)
            return len(self._tokenizer(row.text, verbose=False)["input_ids"])
        except TemplateRefusalError as error:
            self.findings["refused"].add(row.number, error.what)
            return len(self._tokenizer(row.text, verbose=False)["input_ids"])
        except DataError as error:
            self.findings["control_tokens"].add(row.number, error.what)
            return len(self._tokenizer(row.text, verbose=False)["input_ids"])
        self._check_tokens(row.number, example.input_ids)
        if not any(example.completion_mask[: self._max_length]):
            self.findings["nothing_left"].add(row.number)
        elif len(example) > self._max_length:
            self.findings["cut"].add(row.number)
        return len(example)

    def _check_tokens(self, number: int, ids: Sequence[int]) -> None:
        largest = max(ids, default=0)
        if self._tokenizer is not None and self._known_tokens is not None and largest >= self._known_tokens:
            self.findings["unknown_tokens"].add(number, str(self._tokenizer.convert_ids_to_tokens(largest)))


@contextmanager
def _copy(out: Path | None) -> Iterator[Callable[[Examined, str], None]]:
    """Takes rows, each with the reason to leave it out, if any; both files appear when all rows are written."""
    if out is None:
        yield lambda seen, why: None
        return
    changes = out.with_name(f"{out.name}{CHANGES}")
    for path in (out, changes):
        require_place(path, "Name a file that does not exist yet.")
    with (
        writing(out, "Check the folder and its permissions."),
        atomic_write(out) as rows,
        atomic_write(changes) as left_out,
        rows.open("wb") as copy,
        left_out.open("w", encoding="utf-8", errors="backslashreplace") as log,
    ):

        def keep(seen: Examined, why: str) -> None:
            """Write an example to the copy, or, with a reason, to the list of those left out."""
            if why:
                log.write(f"line {seen.number}, left out: {why}\n")
            else:
                copy.write(_line(seen.value))

        yield keep


def _line(value: Any) -> bytes:
    try:
        return f"{json.dumps(value, ensure_ascii=False, default=str)}\n".encode()
    except UnicodeEncodeError:  # half a surrogate pair, under a key that is not ours
        return f"{json.dumps(value, default=str)}\n".encode()


def _findings_about_all(report: Report) -> Iterator[Finding]:
    """Findings about the file as a whole."""
    if report.good < MIN_ROWS_TO_SPLIT:
        says = f"fewer than {MIN_ROWS_TO_SPLIT}: none is held out, and nothing is evaluated"
        yield Finding("too_few_to_judge", says, "guides/your-own-data/#how-it-is-split", report.good)
    elif report.good < _FEW_ROWS:
        says = "which is few: the usual rule of thumb is hundreds for a simple task"
        yield Finding("few", says, "guides/your-own-data/#how-many-rows", report.good)
    if report.labels:
        label, most = next(iter(report.labels.items()))
        if len(report.labels) == 1:
            says = f"all with the label {label!r}: there is nothing to learn to distinguish"
            yield Finding("one_label", says, "terms/linear-probe/", most)
        elif most > _LARGE_SHARE * report.good:
            says = f"of {report.good:,} with the label {label!r}: always predicting it would be correct that often"
            yield Finding("one_sided_labels", says, "terms/evaluation-set/", most)


def _findings_about_labels(
    labels: Mapping[str, int], first_of_label: Mapping[str, int], heldout_labels: Mapping[str, int]
) -> Iterator[Finding]:
    """Findings about labels that are rare, nearly the same, or only among the rows to evaluate on."""
    single = Finding("single_labels", "with a label that no other example has: trained on, never evaluated on", _SETS)
    says = "with a label that differs from an earlier one only in its spelling: both are trained as classes"
    alike = Finding("similar_labels", says, _SETS)
    says = "in the evaluation file with a label that no example here has: evaluation stops at the first"
    unknown = Finding("unknown_labels", says, _SETS)
    forms: dict[str, str] = {}
    for label, number in first_of_label.items():
        if labels[label] == 1 and len(labels) > 1:
            single.add(number, f"label {label!r}")
        other = forms.setdefault(_plain_label(label), label)
        if other != label:
            alike.add(number, f"labels {other!r} and {label!r}")
    if labels:
        for label, count in heldout_labels.items():
            if label not in labels:
                unknown.count += count
                unknown.examples.append(f"label {label!r}")
    yield from (single, alike, unknown)


def _plain_label(label: str) -> str:
    """A label in lower case and with single spaces; a number as a number."""
    plain = " ".join(label.casefold().split())
    with suppress(ValueError):
        plain = str(float(plain))
    return plain


def _prompt_and_answer(row: AnyRow) -> tuple[str, str]:
    """Both in lower case and with single spaces; the prompt of a running text is empty.

    All that carries meaning is in them, so that rows which differ in a system prompt, a tool or an image are not equal.
    """
    match row:
        case Row():
            prompt = "\n".join(map(_whole_turn, row.prompt)) + _as_text(row.extra)
            answer = "\n".join(map(_whole_turn, row.turns[len(row.prompt) :])) + _as_text(dict(row.constraints))
        case Text():
            prompt, answer = "", row.text + _as_text(row.extra)
        case Labelled():
            prompt, answer = row.text + _as_text(row.extra), row.label
    return " ".join(prompt.casefold().split()), " ".join(answer.casefold().split())


def _whole_turn(turn: Turn) -> str:
    return f"{turn.content}{_as_text(turn.extra)}{'' if turn.train else ' (context only)'}"


def _as_text(extra: Any) -> str:
    return f" {json.dumps(extra, ensure_ascii=False, sort_keys=True, default=str)}" if extra else ""


@dataclass(frozen=True)
class _Heldout:
    """Rows to evaluate on."""

    fingerprints: frozenset[int] = frozenset()
    labels: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, columns: Mapping[str, str] | None) -> _Heldout:
        """The prompts, answers and labels of a file to evaluate on; unusable examples are skipped.

        Raises:
            DataError: If the file cannot be read.
        """
        fingerprints: set[int] = set()
        labels: Counter[str] = Counter()
        for seen in examine(path, columns):
            if not isinstance(seen.row, DataError):
                fingerprints.add(fingerprint("\n".join(_prompt_and_answer(seen.row))))
            if isinstance(seen.row, Labelled):
                labels[seen.row.label] += 1
        return cls(frozenset(fingerprints), labels)
