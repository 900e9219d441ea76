"""The sources that pages cite: read from BibTeX, written as lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from ftdemo.errors import DataError

CITED = re.compile(r"\]\(#([a-z]+\d{4}\w*)\)")
"""A citation on a page: a link to the source's key."""
Bibliography = dict[str, dict[str, str]]


def load_bibliography(path: Path) -> Bibliography:
    """The entries of a BibTeX file, by key; none where there is no such file."""
    import bibtexparser

    if not path.exists():
        return {}
    return {entry["ID"]: entry for entry in bibtexparser.loads(path.read_text(encoding="utf-8")).entries}


def source_list(keys: Iterable[str], bibliography: Bibliography, page: Path) -> str:
    """The sources of a page, each at its own anchor.

    Raises:
        DataError: If one is not in the bibliography.
    """
    keys = list(keys)
    missing = [key for key in keys if key not in bibliography]
    if missing:
        raise DataError(f"{page}: sources {', '.join(missing)} are not in references.bib.", "Add them there.")
    items = "".join(f'<li id="{escape(key)}">{_reference(bibliography[key])}</li>\n' for key in keys)
    return f'<ul class="ft-sources">\n{items}</ul>\n'


def all_sources(bibliography: Bibliography, citing: Mapping[str, list[tuple[str, str]]]) -> str:
    """Every source, by its first author's name, each at its own anchor, and the pages that cite it.

    Args:
        bibliography: The sources.
        citing: For each key the name and the address of each page, seen from the list's own page.
    """
    lines = []
    for key, entry in sorted(bibliography.items(), key=lambda item: (item[1]["author"].casefold(), item[1]["year"])):
        pages = ", ".join(f'<a href="{escape(address)}">{escape(name)}</a>' for name, address in citing.get(key, []))
        cited = f"<br>Cited by {pages}." if pages else ""
        lines.append(f'<li id="{escape(key)}">{_reference(entry)}{cited}</li>\n')
    return f'<ul class="ft-sources">\n{"".join(lines)}</ul>\n'


def _reference(entry: Mapping[str, str]) -> str:
    """One entry as a line: authors, year, title, place, link."""
    plain = {key: re.sub(r"[{}]", "", value).replace(" -- ", " – ") for key, value in entry.items()}
    authors = [_natural(name) for name in plain["author"].replace("\n", " ").split(" and ")]
    named = "and others" if "others" in authors[-1:] else ""
    people = [name for name in authors if name != "others"]
    shown = ", ".join(people[:4]) + (" and others" if named or len(people) > 4 else "")
    place = plain.get("booktitle") or plain.get("journal") or plain.get("howpublished") or "arXiv"
    link = ""
    if "eprint" in plain:
        link = f' <a href="https://arxiv.org/abs/{escape(plain["eprint"])}">arXiv:{escape(plain["eprint"])}</a>'
    return f"{escape(shown)} ({escape(plain['year'])}). <cite>{escape(plain['title'])}</cite>. {escape(place)}.{link}"


def _natural(name: str) -> str:
    last, comma, first = name.strip().partition(", ")
    return f"{first} {last}" if comma else last
