"""Word lists, read from the files of a corpus. What can be done with a list's words is in `kinds`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_HEADER = re.compile(r"^(\w+)(?: \(([\w ]+)\))?: ")


@dataclass(frozen=True)
class WordList:
    """The entries of one list, as written, and the lists of adjectives that suit them."""

    name: str
    subject: str
    """The file the list stands in, such as `things`."""
    entries: tuple[str, ...]
    adjectives: tuple[str, ...]


@dataclass(frozen=True)
class DeedVerb:
    """A verb, as written, and the lists that its objects come from."""

    entry: str
    objects: tuple[str, ...]


def read_word_lists(folder: Path) -> dict[str, WordList]:
    """Every list of a folder by its name.

    Raises:
        ValueError: If two lists have one name, or a line has none.
    """
    lists: dict[str, WordList] = {}
    for path in sorted(folder.glob("*.txt")):
        if path.stem != "deeds":
            for found in _parse(path.stem, path.read_text(encoding="utf-8")):
                if found.name in lists:
                    raise ValueError(f"{path}: the list {found.name!r} is defined twice; rename one of the two.")
                lists[found.name] = found
    return lists


def read_deed_verbs(folder: Path) -> tuple[DeedVerb, ...]:
    """What people do, in the order of the folder's `deeds.txt`."""
    lines = (folder / "deeds.txt").read_text(encoding="utf-8").splitlines()
    parts = [line.split(" = ") for line in lines if " = " in line]
    return tuple(DeedVerb(entry, tuple(objects.split())) for entry, objects in parts)


def _parse(subject: str, text: str) -> list[WordList]:
    joined = re.sub(r"\n +", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    return [_word_list(subject, line) for line in joined.splitlines() if line.strip()]


def _word_list(subject: str, line: str) -> WordList:
    header = _HEADER.match(line)
    if header is None:
        raise ValueError(f"words/{subject}.txt: {line[:60]!r} has no list name; write `name: word, word`.")
    name, adjectives = header.groups()
    entries = dict.fromkeys(word.strip() for word in line[header.end() :].split(",") if word.strip())
    return WordList(name, subject, tuple(entries), tuple((adjectives or "").split()))
