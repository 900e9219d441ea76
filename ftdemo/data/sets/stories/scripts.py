"""Scripts: plain files that say what a text is made of, read into frozen data.

A file holds blocks parted by blank lines. The first line of a block says what the block is:

    script NAME KIND      a new script; then `role NAME: KIND` lines
    case                  `NAME: text` lines; each text takes one of the script's cases
    beat, para, line      one of the lines is said: in the same paragraph, in a new one, on a new line
    beat POOL, para POOL  one of the lines of a pool
    ask                   `question => answer` lines; the answer stands in the text
    wish                  things a reader may ask for, which the text then holds
    title                 titles
    note                  `note => sentence` lines; both say the same, of which one line is taken
    pool NAME             lines for `beat POOL`; they use the roles of the script that calls them
    rule NAME             expansions of a phrase, for `{@NAME}`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ftdemo.data.sets.stories.grammar import Names, Nodes, parse, prose
from ftdemo.data.sets.stories.kinds import Kind

_JOINS = {"beat": " ", "para": "\n\n", "line": "\n"}


@dataclass(frozen=True)
class Beat:
    """A step of a text: what parts it from the step before, how often it is taken, and the lines it chooses from."""

    join: str
    chance: float
    lines: tuple[Nodes, ...]


@dataclass(frozen=True)
class Script:
    """All that one sort of text is made of."""

    name: str
    kind: str
    roles: Mapping[str, Kind]
    people: tuple[str, ...]
    """The roles that are persons."""
    cases: tuple[Mapping[str, Nodes], ...]
    beats: tuple[Beat, ...]
    asks: tuple[tuple[Nodes, Nodes], ...]
    wishes: tuple[Nodes, ...]
    titles: tuple[Nodes, ...]
    notes: tuple[tuple[tuple[Nodes, Nodes], ...], ...]
    """For each block of notes its lines: what is jotted down, and the sentence that says the same."""
    said: tuple[str, ...]
    """Every line of the beats and every announcement, once, as written; the checker cuts and parses them."""
    names: Names


@dataclass(frozen=True)
class Block:
    """A block of a script file."""

    head: list[str]
    lines: list[str]


@dataclass(frozen=True)
class Library:
    """Every script, every phrase rule, and the lines of every pool as written."""

    scripts: tuple[Script, ...]
    rules: Mapping[str, list[Nodes]]
    pools: Mapping[str, list[str]]


@dataclass(frozen=True)
class _Reader:
    """What the blocks of a script may call on."""

    kind: Callable[[str], Kind]
    rules: Mapping[str, list[Nodes]]
    pools: Mapping[str, list[str]]
    announcements: Sequence[str]

    def script(self, blocks: list[Block]) -> Script:
        """The script of some blocks, of which the first is its head."""
        roles = dict(self._role(line) for line in blocks[0].lines)
        cases = _cases([block for block in blocks if block.head[0] == "case"], Names(self.kind, self.rules, roles))
        names = Names(self.kind, self.rules, roles, _by_name(cases))
        beats = [block for block in blocks if block.head[0] in _JOINS]
        wishes = _lines(blocks, "wish")
        announced = [form.format(wish) for wish in wishes for form in self.announcements]
        return Script(
            name=blocks[0].head[1],
            kind=blocks[0].head[2],
            roles=roles,
            people=tuple(role for role, kind in roles.items() if kind.name == "person"),
            cases=cases,
            beats=tuple(_beat(block, self.pools, names) for block in beats),
            asks=tuple(_pair(line, names) for line in _lines(blocks, "ask")),
            wishes=tuple(parse(line, names) for line in wishes),
            titles=tuple(parse(prose(line), names) for line in _lines(blocks, "title")),
            notes=tuple(
                tuple(_note(line, names) for line in block.lines) for block in blocks if block.head[0] == "note"
            ),
            said=tuple(dict.fromkeys([line for block in beats for line in _said(block, self.pools)] + announced)),
            names=names,
        )

    def _role(self, line: str) -> tuple[str, Kind]:
        name, _, of = line.removeprefix("role ").partition(": ")
        return name, self.kind(of)


def read_library(folder: Path, kind: Callable[[str], Kind], announcements: Sequence[str] = ()) -> Library:
    """The scripts of all files in a folder, in the order of the file names.

    Announcements are sentences that a text may begin with; `{}` in them is what was wished for.
    """
    blocks = [block for path in sorted(folder.glob("*.txt")) for block in _blocks(path)]
    rules = _rules([block for block in blocks if block.head[0] == "rule"], kind)
    pools = {block.head[1]: block.lines for block in blocks if block.head[0] == "pool"}
    reader = _Reader(kind, rules, pools, announcements)
    return Library(tuple(reader.script(part) for part in _parts(blocks)), rules, pools)


def _blocks(path: Path) -> list[Block]:
    chunks = path.read_text(encoding="utf-8").strip().split("\n\n")
    lines = [[line for line in chunk.splitlines() if not line.startswith("#")] for chunk in chunks]
    return [Block(found[0].split(), found[1:]) for found in lines if found]


def _rules(blocks: list[Block], kind: Callable[[str], Kind]) -> dict[str, list[Nodes]]:
    rules: dict[str, list[Nodes]] = {block.head[1]: [] for block in blocks}
    for block in blocks:
        rules[block.head[1]].extend(parse(line, Names(kind, rules)) for line in block.lines)
    return rules


def _parts(blocks: list[Block]) -> list[list[Block]]:
    parts: list[list[Block]] = []
    for block in blocks:
        if block.head[0] == "script":
            parts.append([block])
        elif block.head[0] not in ("pool", "rule"):
            parts[-1].append(block)
    return parts


def _lines(blocks: list[Block], head: str) -> list[str]:
    return [line for block in blocks if block.head[0] == head for line in block.lines]


def _cases(blocks: list[Block], names: Names) -> tuple[Mapping[str, Nodes], ...]:
    pairs = [[line.split(": ", 1) for line in block.lines] for block in blocks]
    return tuple({name: parse(text, names) for name, text in found} for found in pairs)


def _by_name(cases: tuple[Mapping[str, Nodes], ...]) -> dict[str, tuple[Nodes, ...]]:
    return {name: tuple(case[name] for case in cases) for name in (cases[0] if cases else ())}


def _said(block: Block, pools: Mapping[str, list[str]]) -> list[str]:
    called = [word for word in block.head[1:] if not word.endswith("%")]
    return block.lines + [line for name in called for line in pools[name]]


def _beat(block: Block, pools: Mapping[str, list[str]], names: Names) -> Beat:
    chance = next((int(word[:-1]) / 100 for word in block.head if word.endswith("%")), 1.0)
    lines = tuple(parse(prose(line).replace("\\n", "\n"), names) for line in _said(block, pools))
    return Beat(_JOINS[block.head[0]], chance, lines)


def _pair(line: str, names: Names) -> tuple[Nodes, Nodes]:
    question, _, answer = line.partition(" => ")
    return parse(prose(question), names), parse(answer, names)


def _note(line: str, names: Names) -> tuple[Nodes, Nodes]:
    note, _, sentence = line.partition(" => ")
    return parse(note, names), parse(prose(sentence), names)
