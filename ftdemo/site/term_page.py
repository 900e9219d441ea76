"""The page of a new term: every part that the glossary asks for, with a TODO in each."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

from ftdemo.errors import UsageError
from ftdemo.site.glossary import load_settings


def create_term_page(docs: Path, name: str, *, flagship: bool = False) -> Path:
    """Write the page of a new term, with a TODO wherever somebody has to write something.

    Args:
        docs: The folder of the glossary's pages.
        name: The term.
        flagship: Whether the page gets all parts, instead of those of a short entry.

    Returns:
        The page.

    Raises:
        UsageError: If the name has no letter from a to z, or the page exists.
    """
    settings = load_settings(docs)
    slug = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")
    page = docs / "terms" / f"{slug}.md"
    if not slug:
        raise UsageError(
            f"`{name}` has no letter from a to z.", "Choose a name with letters, because it becomes part of an address."
        )
    if page.exists():
        raise UsageError(f"{page} already exists.", "Edit it, or choose another name.")
    parts = settings.anatomy.get("flagship" if flagship else "entry", ())
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(_content(name, slug, next(iter(settings.levels), ""), parts), encoding="utf-8")
    return page


def _content(name: str, slug: str, level: str, parts: tuple[str, ...]) -> str:
    included = {"Related terms": f'--8<-- "related/{slug}.md"', "Sources": f'--8<-- "sources/{slug}.md"'}
    bodies = ""
    for part in parts:
        title = part.split("|")[0].strip()
        bodies += f"## {title}\n\n{included.get(title, 'TODO')}\n\n"
    term = name.replace('"', "'")
    return (
        f'---\ntitle: "{term}"\ndescription: "TODO: one sentence, the same as the summary."\nterm: "{term}"\n'
        f'full_name: ""\naliases: []\nsummary: "TODO: one sentence, the same as the description."\nlevel: {level}\n'
        f"prerequisites: []\nbroader: []\nnarrower: []\ncontrast: []\nrelated: []\nsources: []\n"
        f'reviewed: {dt.date.today().isoformat()}\n---\n\n# {term}\n\n--8<-- "head/{slug}.md"\n\n{bodies.rstrip()}\n'
    )
