"""The words that people read, wherever they are written: pages, settings, strings in code, notebooks, and help texts.

A passage keeps its file and its first line. What nobody reads as prose (code, formulas, HTML tags, comments) is left
out, and line breaks are kept, so that a finding can name its line.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import yaml

ROOT = Path(__file__).parents[2]
LEFT_OUT = "§"
"""Stands for code or a value, so that the words around it do not seem to follow each other."""
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_BLOCKS = re.compile(
    r"^[ >]*(?P<fence>```+|~~~+).*?^[ >]*(?P=fence) *$|<!--.*?-->|<(?P<tag>script|style|svg|code|math)\b.*?</(?P=tag)>",
    re.DOTALL | re.MULTILINE,
)
_LINES = re.compile(r"^[ \t]*(--8<--|:::|:\w+:).*$", re.MULTILINE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>", re.DOTALL)
_NAMES = {"aliases", "runs", "sources"}
"""Keys of front matter whose values are what people search for, or names of files."""
_INDENT = re.compile(r"^[ \t>]+", re.MULTILINE)
_TAB = re.compile(r'^(?:===|!!!|\?\?\?\+?)(?: [\w-]+)?(?: "(.*)")?$', re.MULTILINE)
_ATTRIBUTES = re.compile(r"\{ ?[:#.][^{}\n]*\}")
_LINK = re.compile(r"!?\[([^\[\]]*)\](?:\([^()\s]*(?: \"[^\"]*\")?\)|\[[^\[\]]*\])")
_CODE = re.compile(r"(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)", re.DOTALL)
_EMPHASIS = re.compile(r"\*+|(?<!\w)_+(?=\w)|(?<=\w)_+(?!\w)")
_JS = re.compile(
    r"""//[^\n]*|/\*.*?\*/|(?<=[=(,:;!&|?{}\[]\s)/(?:\\.|\[(?:\\.|[^\]\n])*\]|[^/\\\n])+/[a-z]*"""
    r"""|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`""",
    re.DOTALL,
)


@dataclass(frozen=True)
class Passage:
    """Words in one piece, and where they begin."""

    place: str
    line: int
    text: str


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def _newlines(found: re.Match[str]) -> str:
    return "\n" * found.group().count("\n")


def markdown_prose(text: str) -> str:
    """A page without front matter, code blocks, includes and HTML tags, each line of it at its own place."""
    text = _FRONT_MATTER.sub(_newlines, text)
    text = _BLOCKS.sub(_newlines, text)
    text = _TAG.sub(_newlines, _LINES.sub("", text))
    return _ATTRIBUTES.sub("", _TAB.sub(r"\1", _INDENT.sub("", text)))


def plain(text: str) -> str:
    """Prose without the marks of Markdown: only the words of links and emphasis, and no code."""
    text = _LINK.sub(r"\1", _CODE.sub(lambda found: LEFT_OUT + _newlines(found), text))
    return _EMPHASIS.sub("", text)


def yaml_passages(
    text: str, place: str, keys: Collection[str] = (), *, skip: Collection[str] = (), first: int = 1
) -> Iterator[Passage]:
    """Strings in YAML: the values of some keys, or of all but some."""

    def walk(node: yaml.Node, wanted: bool) -> Iterator[Passage]:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value not in skip:
                    yield from walk(value, wanted or key.value in keys)
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                yield from walk(item, wanted)
        elif isinstance(node, yaml.ScalarNode) and wanted:
            yield Passage(place, first + node.start_mark.line + (node.style in (">", "|")), plain(node.value))

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is not None:
        yield from walk(root, not keys)


def page_passages(path: Path) -> Iterator[Passage]:
    """The prose of a Markdown file, and the strings of its front matter."""
    text = path.read_text(encoding="utf-8")
    if front := _FRONT_MATTER.match(text):
        yield from yaml_passages(front[1], _name(path), skip=_NAMES, first=2)
    yield Passage(_name(path), 1, plain(markdown_prose(text)))


def notebook_passages(path: Path) -> Iterator[Passage]:
    """The Markdown cells of a notebook; a line is counted within its cell."""
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"], 1):
        if cell["cell_type"] == "markdown":
            yield Passage(f"{_name(path)}, cell {number}", 1, plain(markdown_prose("".join(cell["source"]))))


def _is_prose(text: object) -> TypeGuard[str]:
    """Whether a constant in code may be words for people: neither a lone name, nor a style sheet."""
    return isinstance(text, str) and " " in text and "{ " not in text and ": var(" not in text


def _joined(node: ast.JoinedStr) -> str:
    return "".join(str(part.value) if isinstance(part, ast.Constant) else LEFT_OUT for part in node.values)


def python_passages(path: Path) -> Iterator[Passage]:
    """Strings in Python source: labels, help texts, errors, and docstrings of what is public."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside: set[ast.AST] = set()  # parts of an f-string, and docstrings of private functions
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside.update(part for part in node.values if isinstance(part, ast.Constant))
            if _is_prose(text := _joined(node)):
                yield Passage(_name(path), node.lineno, plain(text))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name.startswith("_"):
            inside.update(line.value for line in node.body[:1] if isinstance(line, ast.Expr))
        elif isinstance(node, ast.Constant) and node not in inside and _is_prose(node.value):
            yield Passage(_name(path), node.lineno, _INDENT.sub("", plain(node.value)))


def javascript_passages(path: Path) -> Iterator[Passage]:
    """Strings in JavaScript, without what a template fills in."""
    text = path.read_text(encoding="utf-8")
    for found in _JS.finditer(text):
        if found[0][0] in "\"'`" and " " in found[0]:
            words = _TAG.sub(_newlines, re.sub(r"\$\{[^}]*\}", LEFT_OUT, found[0][1:-1]))
            yield Passage(_name(path), text.count("\n", 0, found.start()) + 1, words)


def html_passages(path: Path) -> Iterator[Passage]:
    """The text of a template or diagram, and the text of those attributes that are read aloud or shown."""
    text = path.read_text(encoding="utf-8")
    for found in re.finditer(r'\b(?:aria-label|title|placeholder|alt)="([^"]*)"', text):
        yield Passage(_name(path), text.count("\n", 0, found.start()) + 1, found[1])
    text = re.sub(r"<style.*?</style>|\{[%#].*?[%#]\}", _newlines, text, flags=re.DOTALL)
    text = re.sub(r"\{\{.*?\}\}", lambda found: LEFT_OUT + _newlines(found), text, flags=re.DOTALL)
    yield Passage(_name(path), 1, plain(_TAG.sub(_newlines, text)))
