"""What pages include of the glossary itself: heads, related terms, index, map, paths, where to try and to comment.

These are Markdown, with HTML around it where Markdown has no word for it.
"""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from ftdemo.site.glossary import Glossary, Term
from ftdemo.site.rendering import render_template

_LABELS = {
    "broader": "Broader",
    "narrower": "Narrower",
    "contrast": "Compare with",
    "related": "See also",
    "prerequisites": "Read first",
}
"""What a page calls each relation, in the order in which it lists them."""


def heading(glossary: Glossary, term: Term, verified: str) -> str:
    """Below a page's title: the definition, then other names, the level, what to read first, and when it was reviewed.

    Misspellings are hidden from readers and screen readers, but every search indexes them.

    Args:
        glossary: All terms.
        term: The page's own.
        verified: The day on which the page's runs last ran; empty if it has none.
    """
    facts = {
        "Level": glossary.settings.levels[term.level],
        "Also called": ", ".join(term.other_names),
        "Read first": _links(term.prerequisites, glossary),
        "Reviewed": term.reviewed.isoformat(),
        "Runs": verified,
    }
    also_typed = ", ".join(glossary.settings.also_typed.get(term.slug, ()))
    return render_template("heading.md", definition=term.summary, facts=facts, also_typed=also_typed)


def related(glossary: Glossary, term: Term) -> str:
    """The terms that a page's relations name, with their definitions, and those that point here from elsewhere."""
    groups: dict[str, list[Term]] = {}
    listed: set[str] = set()
    for relation, label in _LABELS.items():
        slugs = [slug for slug in term.related_by(relation) if slug not in listed]
        listed.update(slugs)
        if slugs:
            groups[label] = [glossary.terms[slug] for slug in slugs]
    back = [slug for slug in glossary.backlinks[term.slug] if slug not in listed]
    return render_template("related.md", groups=groups, back=_links(back, glossary))


def index(glossary: Glossary) -> str:
    """Every term with its summary, by first letter, with a choice of level that needs no script."""
    by_letter: dict[str, list[Term]] = {}
    for term in glossary.terms.values():
        by_letter.setdefault(term.term[0].upper(), []).append(term)
    return render_template("index.md", levels=glossary.settings.levels, by_letter=by_letter)


def flagships(glossary: Glossary, to: str) -> str:
    """The terms with a full page, as cards.

    Args:
        glossary: All terms.
        to: The address of a term's page, seen from the cards' own page, with ``{}`` for its slug.
    """
    return render_template("flagships.md", terms=[glossary.terms[slug] for slug in glossary.settings.flagships], to=to)


def network(glossary: Glossary, to: str) -> str:
    """How the terms are related, as a list.

    Args:
        glossary: All terms.
        to: The address of a term's page, seen from the list's own page, with ``{}`` for its slug.
    """
    lines = []
    for slug, term in glossary.terms.items():
        facts = [
            f"{label.lower()} {_links(others, glossary, to)}"
            for relation, label in _LABELS.items()
            if (others := term.related_by(relation))
        ]
        lines.append(f"- **{_links([slug], glossary, to)}**{': ' if facts else ''}{'; '.join(facts)}")
    return "\n".join(lines) + "\n"


def paths(glossary: Glossary, to: str) -> str:
    """The learning paths as ordered lists.

    Args:
        glossary: All terms.
        to: The address of a term's page, seen from the paths' own page, with ``{}`` for its slug.
    """
    return render_template("paths.md", paths=glossary.settings.paths, terms=glossary.terms, to=to)


def feedback(url: str) -> str:
    """A line that asks whether a page was helpful; nothing if there is no place to say so."""
    return render_template("feedback.html", url=url) if url else ""


def demo_link(url: str, embedded: str = "", notebook: str = "") -> str:
    """Buttons that open a demo: on a page of its own, and, for readers with JavaScript, on this one.

    Args:
        url: Where the demo runs.
        embedded: Where it runs for pages that embed it.
        notebook: The same as a notebook.
    """
    return render_template("demo.html", url=url, embedded=embedded, notebook=notebook)


def _links(slugs: Iterable[str], glossary: Glossary, to: str = "{}.md") -> Markup:
    """Links to the pages of terms, from a page beside them unless `to` says otherwise."""
    link = Markup("[{}]({})")
    return Markup(", ").join(link.format(glossary.terms[slug].term, to.format(slug)) for slug in slugs)
