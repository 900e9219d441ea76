"""A visitor's own examples: a file or a pasted text, checked row by row before any training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from ftdemo.data import faults
from ftdemo.data.check import Finding, check_file
from ftdemo.data.decode import PACKED
from ftdemo.data.files import SUFFIXES, suffix_of
from ftdemo.errors import DataError, FtdemoError
from ftdemo.ui import limits, page_at, panels
from ftdemo.ui.sessions import pasted_file

_HERE = Path(__file__).parent / "examples"
PAIRS_FILE = _HERE / "pairs.jsonl"
TEXTS_FILE = _HERE / "texts.txt"
LABELS_FILE = _HERE / "labels.csv"
_FORMATS = {
    PAIRS_FILE: "A CSV file with the columns `prompt` and `completion`, or JSON lines:\n\n"
    '`{"prompt": "Is it open?", "completion": "Yes, until five."}`',
    TEXTS_FILE: 'A plain text with empty lines between the examples, or JSON lines:\n\n`{"text": "…"}`',
    LABELS_FILE: 'A CSV file with the columns `text` and `label`, or JSON lines:\n\n`{"text": "…", "label": "…"}`',
}
_MAX_FAULTS = 5
_READINGS, _MAX_EPOCHS = 200, 40
"""How many examples a run on few of a visitor's own should read in all, and how often each at most."""
_UNBOUNDED = (PACKED, b"PAR1")


class UserData:
    """The part of a demo's page that takes a visitor's own examples."""

    def __init__(self, example: Path) -> None:
        """Place it.

        Args:
            example: An example file to start from: one of the constants of this module.
        """
        with gr.Accordion("Use your own examples", open=False, elem_id="own"):
            gr.Markdown(
                f"{_FORMATS[example]}\n\nYour examples are used only for your own runs, and deleted after your visit."
            )
            gr.DownloadButton("Download example file", value=str(example), size="sm")
            self._file = gr.File(
                label="File with your examples",
                file_types=[suffix for suffix in SUFFIXES if suffix != ".parquet"],
                height=120,
                elem_id="own-file",
            )
            self._text = gr.Textbox(
                label="Examples as text",
                lines=4,
                max_lines=8,
                max_length=limits.current_limits().own_bytes,
                elem_id="own-text",
            )
            report = gr.HTML(elem_id="own-report")
        quietly: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}
        gr.on([self._file.change, self._text.change], describe_rows, self.inputs, report, **quietly)

    @property
    def inputs(self) -> list[Any]:
        """The controls: a file and a text."""
        return [self._file, self._text]


def describe_rows(file: str | None, text: str | None) -> str:
    """The number of the visitor's rows and what is wrong with them, row by row, as HTML."""
    try:
        path = user_file(file, text)
        if path is None:
            return ""
        found, good = faults(path, _MAX_FAULTS)
    except FtdemoError as error:
        return panels.error_line(error)
    if not found:
        summary = panels.status_line(f"{good:,} examples, all of them usable.{_too_many(good)}")
        findings = ((_describe(finding), page_at(finding.page)) for finding in check_file(path).findings)
        return summary + panels.findings_list(findings)
    sentences = [fault.replace(f"{path}", path.name) for fault in found]
    return panels.rejected_rows(sentences, complete=len(found) < _MAX_FAULTS)


def _describe(finding: Finding) -> str:
    rows = "1 example" if finding.count == 1 else f"{finding.count:,} examples"
    lines = f" Line {', '.join(map(str, finding.rows))}." if finding.rows else ""
    return f"{rows}, {finding.says}.{lines}"


def user_file(file: str | None, text: str | None) -> Path | None:
    """The file with a visitor's examples, if there are any.

    Raises:
        DataError: If they are larger than this demo takes.
    """
    limit = limits.current_limits().own_bytes
    if file:
        if Path(file).stat().st_size > limit:
            raise DataError(f"The file is larger than {limit / 1e6:g} MB.", "Use fewer examples.")
        with Path(file).open("rb") as stream:
            if stream.read(4).startswith(_UNBOUNDED):
                what = "The demo does not accept compressed or Parquet files, because they may become too large."
                raise DataError(what, "Use JSON lines, CSV or plain text.")
        return Path(file)
    if not (text or "").strip():
        return None
    assert text is not None
    if len(text.encode("utf-8", "replace")) > limit:
        raise DataError(f"The text is larger than {limit / 1e6:g} MB.", "Use fewer examples.")
    return pasted_file(text, suffix_of(text))


def recipe_settings(file: str | None, text: str | None, examples: int | None) -> dict[str, Any]:
    """Settings of a recipe: the visitor's own examples, or this number of built-in ones."""
    path = user_file(file, text)
    if path is None:
        return {"examples": examples}
    most = limits.current_limits().rows if limits.is_public() else None
    return {"data": str(path), "examples": most}


def pair_settings(file: str | None, text: str | None, examples: int | None) -> dict[str, Any]:
    """Settings of a recipe, as `recipe_settings` has them; few pairs are read several times."""
    settings = recipe_settings(file, text, examples)
    if "data" not in settings:
        return settings
    _, good = faults(Path(settings["data"]), 1)
    epochs = min(_MAX_EPOCHS, round(_READINGS / max(1, good)))
    return settings | {"epochs": float(epochs)} if epochs > 1 else settings


def _too_many(rows: int) -> str:
    most = limits.current_limits().rows
    return f" Only the first {most:,} are used." if rows > most and limits.is_public() else ""
