"""A visitor's own examples: a file or a pasted text, checked row by row before anything is trained."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from ftdemo.data import faults
from ftdemo.data.check import Finding
from ftdemo.data.check import check_file as look
from ftdemo.data.decode import PACKED
from ftdemo.data.files import SUFFIXES, suffix_of
from ftdemo.errors import DataError, FtdemoError
from ftdemo.ui import limits, page_at, panels
from ftdemo.ui.visits import pasted

_HERE = Path(__file__).parent / "examples"
PAIRS = _HERE / "pairs.jsonl"
TEXTS = _HERE / "texts.txt"
LABELS = _HERE / "labels.csv"
_SHAPES = {
    PAIRS: "A CSV file with the columns `prompt` and `completion`, or JSON lines:\n\n"
    '`{"prompt": "Is it open?", "completion": "Aye. Until five."}`',
    TEXTS: 'A plain text with empty lines between its parts, or JSON lines:\n\n`{"text": "…"}`',
    LABELS: 'A CSV file with the columns `text` and `label`, or JSON lines:\n\n`{"text": "…", "label": "…"}`',
}
_MOST_FAULTS = 5
_UNBOUNDED = (PACKED, b"PAR1")


class OwnData:
    """The part of a demo's page that takes a visitor's own examples."""

    def __init__(self, example: Path) -> None:
        """Place it.

        Args:
            example: A file to start from: one of those in this module.
        """
        with gr.Accordion("Your own examples", open=False, elem_id="own"):
            gr.Markdown(f"{_SHAPES[example]}\n\nWhat you bring is used for your run alone, and removed after it.")
            gr.DownloadButton("An example file to start from", value=str(example), size="sm")
            self._file = gr.File(
                label="A file",
                file_types=[suffix for suffix in SUFFIXES if suffix != ".parquet"],
                height=120,
                elem_id="own-file",
            )
            self._text = gr.Textbox(
                label="Or paste them",
                lines=4,
                max_lines=8,
                max_length=limits.current().own_bytes,
                elem_id="own-text",
            )
            report = gr.HTML(elem_id="own-report")
        told: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}
        gr.on([self._file.change, self._text.change], check, self.inputs, report, **told)

    @property
    def inputs(self) -> list[Any]:
        """The controls: a file and a text."""
        return [self._file, self._text]


def check(file: str | None, text: str | None) -> str:
    """What is in the visitor's examples and what is wrong with them, row by row, as HTML."""
    try:
        path = own_file(file, text)
        if path is None:
            return ""
        found, good = faults(path, _MOST_FAULTS)
    except FtdemoError as error:
        return panels.refusal(error)
    if not found:
        told = panels.status(f"{good:,} rows, all of them good.{_too_many(good)}")
        return told + panels.findings((_named(each), page_at(each.page)) for each in look(path).findings)
    rows = "".join(f"<li>{escape(fault.replace(f'{path}', path.name))}</li>" for fault in found)
    more = " There may be more." if len(found) == _MOST_FAULTS else ""
    told = f"Nothing can be learned from these rows:<ul>{rows}</ul>{more}"
    return f'<div class="ft-status ft-error" role="alert">{told}</div>'


def _named(finding: Finding) -> str:
    rows = "1 row" if finding.count == 1 else f"{finding.count:,} rows"
    lines = f" Line {', '.join(map(str, finding.rows))}." if finding.rows else ""
    return f"{rows}, {finding.says}.{lines}"


def own_file(file: str | None, text: str | None) -> Path | None:
    """Where a visitor's examples lie, or nothing where there are none.

    Raises:
        DataError: If they are larger than this demo takes.
    """
    limit = limits.current().own_bytes
    if file:
        if Path(file).stat().st_size > limit:
            raise DataError(f"The file is larger than {limit / 1e6:g} MB.", "Give fewer examples.")
        with Path(file).open("rb") as opened:
            if opened.read(4).startswith(_UNBOUNDED):
                what = "Packed files and Parquet are not taken here: nobody knows how large they become."
                raise DataError(what, "Give the rows as JSON lines, CSV or plain text.")
        return Path(file)
    if not (text or "").strip():
        return None
    assert text is not None
    if len(text.encode("utf-8", "replace")) > limit:
        raise DataError(f"The text is longer than {limit / 1e6:g} MB.", "Give fewer examples.")
    return pasted(text, suffix_of(text))


def settings(file: str | None, text: str | None, examples: int | None) -> dict[str, Any]:
    """A recipe's keys: the visitor's own examples, or so many of the built-in ones."""
    path = own_file(file, text)
    if path is None:
        return {"examples": examples}
    most = limits.current().rows if limits.is_public() else None
    return {"data": str(path), "examples": most}


def _too_many(rows: int) -> str:
    most = limits.current().rows
    return f" The first {most:,} are used." if rows > most and limits.is_public() else ""
