"""`Tool`: another trainer as one object, and how its settings are written."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from ftdemo.data import AnyRow
from ftdemo.runs.elsewhere.job import Job

_WIDTH = 110
_TEMPLATES = Environment(
    loader=PackageLoader("ftdemo.runs.elsewhere"),
    autoescape=False,  # what is written is Python and Markdown; values are put in by `tojson` or by `repr`
    keep_trailing_newline=True,
    lstrip_blocks=True,
    trim_blocks=True,
    undefined=StrictUndefined,
)


@dataclass(frozen=True)
class Setting:
    """A key of another trainer, and its value."""

    key: str
    value: Any
    why: str = ""
    """What its reader should know: where it comes from, and what is not the same."""


def _python(value: Any) -> str:
    """A value as Python code, with double quotes."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


_TEMPLATES.filters["python"] = _python

Groups = Mapping[str, Sequence[Setting]]
"""Settings under their headings."""


@dataclass(frozen=True)
class Tool:
    """Another trainer."""

    name: str
    """As `--as` has it."""
    title: str
    package: str
    """Whose options these are."""
    version: str
    """Its release from whose source the options were taken."""
    settings: Callable[[Job], Groups]
    """Everything that the tool is told, as its own keys and values."""
    obstacle: Callable[[Job], str]
    """Why the tool cannot do a job, as a sentence; empty if it can."""
    files: Callable[[Job], dict[str, str]]
    """Small text files by their names: the script or the configuration, and what it needs beside the data."""
    rows: Callable[[Job, AnyRow], Iterator[dict[str, Any]]]
    """A row in the tool's format."""
    train_file: str
    heldout_file: str
    install: Callable[[Job], Sequence[str]]
    """Shell commands."""
    run: Callable[[Job], Sequence[str]]
    """Shell commands."""
    result: str
    """Where the trained model is then, in words."""
    differs: Callable[[Job], Iterator[str]]
    """What this tool does in another way than ftdemo, a sentence each."""
    is_ours: bool = False
    """Whether it is ftdemo itself, which has its models and data sets on every machine."""


def as_yaml(groups: Groups) -> str:
    """Settings as YAML: a heading for each group, and each reason beside its key or above it."""
    blocks = []
    for heading, settings in groups.items():
        lines = [f"### {heading}"]
        for setting in settings:
            text = yaml.safe_dump({setting.key: setting.value}, sort_keys=False, allow_unicode=True, width=1000)
            lines.extend(_with_reason(text.rstrip("\n"), setting.why, ""))
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def as_arguments(settings: Sequence[Setting], indent: int = 4) -> str:
    """Settings as the keyword arguments of a call in Python, a line each."""
    margin = " " * indent
    lines: list[str] = []
    for setting in settings:
        value = setting.value if isinstance(setting.value, Code) else _python(setting.value)
        lines.extend(_with_reason(f"{margin}{setting.key}={value},", setting.why, margin))
    return "\n".join(lines)


class Code(str):
    """A value that is an expression of the script, not a text."""


def _with_reason(text: str, why: str, margin: str) -> list[str]:
    if not why:
        return [text]
    if "\n" not in text and len(text) + len(why) + 4 <= _WIDTH:
        return [f"{text}  # {why}"]
    return [*(f"{margin}# {line}" for line in textwrap.wrap(why, _WIDTH - len(margin) - 2)), text]


def from_template(template: str, **values: Any) -> str:
    """A file from the folder ``templates``, filled with values.

    Args:
        template: Its name there.
        values: What it names.
    """
    return _TEMPLATES.get_template(template).render(values)
