r"""The grammar of a template line, and how a line becomes text.

{hero} {hero.he}        a role of the script, in one of its forms
{@place} {@bird.s}      any entity of a kind, or an expansion of a phrase rule
{=cause}                the text that the chosen case gives under that name
[slowly|at once| ]      one of several; any of them may hold more of all this
a~                      `a` or `an`, by the next word
\[ \] \{ \}             the plain sign
^                       a capital for the letter that follows; sentences get theirs unasked
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ftdemo.data.sets.stories.kinds import Entity, Field, Kind
from ftdemo.data.sets.stories.morphology import article
from ftdemo.data.sets.stories.tokens import sentences

_PIECE = re.compile(r"\\[\[\]{}]|[\[\]|]|\{[^{}]*\}|[^\\\[\]{}|]+")
_ARTICLE = re.compile(r"a~ (\w+)")
_CAPITAL = re.compile(r'\^("?)(\w?)')
_STARTS_LIKE_PROSE = re.compile(r'["a-z{\[]')


@dataclass(slots=True)
class Scene:
    """What one text is about: the entity of every role, the texts of the chosen case, and the source of chance."""

    random: Callable[[], float]
    roles: dict[str, Entity]
    case: Mapping[str, Nodes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Text:
    """Words as they stand."""

    text: str

    def write(self, out: list[str], scene: Scene) -> None:
        """Add the words."""
        out.append(self.text)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several runs of nodes."""

    options: tuple[Nodes, ...]

    def write(self, out: list[str], scene: Scene) -> None:
        """Add one option, by chance."""
        for node in self.options[int(scene.random() * len(self.options))]:
            node.write(out, scene)


@dataclass(frozen=True, slots=True)
class Slot:
    """A form of the entity that plays a role; without a role, of any entity of the kind."""

    role: str
    kind: Kind
    pattern: tuple[str | Field, ...]

    def write(self, out: list[str], scene: Scene) -> None:
        """Add the form."""
        entity = scene.roles[self.role] if self.role else self.kind.pick(scene.random)
        for part in self.pattern:
            out.append(entity[part.table][part.name] if isinstance(part, Field) else part)


@dataclass(frozen=True, slots=True)
class Rule:
    """An expansion of a phrase rule."""

    name: str
    options: list[Nodes] = field(compare=False)

    def write(self, out: list[str], scene: Scene) -> None:
        """Add one expansion, by chance."""
        for node in self.options[int(scene.random() * len(self.options))]:
            node.write(out, scene)


@dataclass(frozen=True, slots=True)
class CaseText:
    """What the chosen case says under a name."""

    name: str
    options: tuple[Nodes, ...]
    """What every case says there, in the order of the cases."""

    def write(self, out: list[str], scene: Scene) -> None:
        """Add the chosen case's text."""
        for node in scene.case[self.name]:
            node.write(out, scene)


Node = Text | Choice | Slot | Rule | CaseText
Nodes = tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """What the names in a template stand for."""

    kind: Callable[[str], Kind]
    rules: Mapping[str, list[Nodes]]
    roles: Mapping[str, Kind] = field(default_factory=dict)
    cases: Mapping[str, tuple[Nodes, ...]] = field(default_factory=dict)


def parse(template: str, names: Names) -> Nodes:
    """The nodes of a template.

    Raises:
        ValueError: If a bracket is left open or a name is unknown.
    """
    pieces = _PIECE.findall(template)
    if "".join(pieces) != template:
        raise ValueError(f"{template!r}: a brace is left open.")
    options, rest = _options(pieces, names)
    if rest or len(options) != 1:
        raise ValueError(f"{template!r}: `|` and `]` stand only within `[...]`.")
    return options[0]


def _options(pieces: list[str], names: Names) -> tuple[list[Nodes], list[str]]:
    options: list[list[Node]] = [[]]
    while pieces and pieces[0] != "]":
        piece, *pieces = pieces
        if piece == "|":
            options.append([])
        elif piece == "[":
            inner, pieces = _options(pieces, names)
            options[-1].append(Choice(tuple(inner)))
            pieces = pieces[1:]
        else:
            options[-1].append(_node(piece, names))
    return [tuple(option) for option in options], pieces


def _node(piece: str, names: Names) -> Node:
    if not piece.startswith("{"):
        return Text(piece.removeprefix("\\"))
    name, _, form = piece[1:-1].partition(".")
    if name.startswith("="):
        return CaseText(name[1:], names.cases[name[1:]])
    if name.startswith("@"):
        return _any_of(name[1:], form, names)
    if name not in names.roles:
        raise ValueError(f"{piece} names no role; the roles are {sorted(names.roles)}.")
    return Slot(name, names.roles[name], names.roles[name].form(form))


def _any_of(name: str, form: str, names: Names) -> Node:
    if name in names.rules:
        return Rule(name, names.rules[name])
    return Slot("", names.kind(name), names.kind(name).form(form))


def prose(line: str) -> str:
    """A line of templates with a mark for a capital at the start of every sentence."""
    return " ".join("^" * bool(_STARTS_LIKE_PROSE.match(text)) + text for text in sentences(line))


def finish(text: str) -> str:
    """The text with its articles and capitals set."""
    text = _ARTICLE.sub(lambda found: f"{article(found[1])} {found[1]}", text)
    return _CAPITAL.sub(lambda found: found[1] + found[2].upper(), text)
