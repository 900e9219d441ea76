"""The sources that pages cite: read from BibTeX, written as lists."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ftdemo.errors import DataError
from ftdemo.site.rendering import render_template

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
    return render_template("sources.html", sources=[_reference(bibliography[key]) for key in keys], cited_by={})


def all_sources(bibliography: Bibliography, cited_by: Mapping[str, list[tuple[str, str]]]) -> str:
    """Every source, by its first author's name, each at its own anchor, and the pages that cite it.

    Args:
        bibliography: The sources.
        cited_by: For each key the name and the address of each page, seen from the list's own page.
    """
    entries = sorted(bibliography.values(), key=lambda entry: (entry["author"].casefold(), entry["year"]))
    return render_template("sources.html", sources=[_reference(entry) for entry in entries], cited_by=cited_by)


def _reference(entry: Mapping[str, str]) -> dict[str, str]:
    """What a page prints of an entry, in plain text."""
    plain = {key: re.sub(r"[{}]", "", value).replace(" -- ", " – ") for key, value in entry.items()}
    authors = [_natural(name) for name in plain["author"].replace("\n", " ").split(" and ")]
    people = [name for name in authors if name != "others"]
    others = authors[-1:] == ["others"] or len(people) > 4
    return {
        "key": entry["ID"],
        "people": ", ".join(people[:4]) + (" and others" if others else ""),
        "year": plain["year"],
        "title": plain["title"],
        "place": plain.get("booktitle") or plain.get("journal") or plain.get("howpublished") or "arXiv",
        "eprint": plain.get("eprint", ""),
        "url": plain.get("url", ""),
        "checked": _month(entry["ID"], plain["urldate"]) if "urldate" in plain else "",
    }


def _month(key: str, date: str) -> str:
    """The month of an ISO date, such as November 2026."""
    try:
        return f"{dt.date.fromisoformat(date):%B %Y}"
    except ValueError:
        what = f"references.bib: the urldate of {key} is {date!r}, which is not a date."
        raise DataError(what, "Write it as year, month and day, such as 2026-11-28.") from None


def _natural(name: str) -> str:
    last, comma, first = name.strip().partition(", ")
    return f"{first} {last}" if comma else last
