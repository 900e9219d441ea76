"""What pages include of the glossary itself: heads, related terms, index, graph, paths, where to try and to ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from ftdemo.site.glossary import POINTERS, Glossary, Term

if TYPE_CHECKING:
    import numpy

_READS = {
    "broader": "Broader",
    "narrower": "Narrower",
    "contrast": "Compare with",
    "related": "See also",
    "prerequisites": "Read first",
}
"""How each relation reads on a page, in the order in which they stand there."""


def heading(glossary: Glossary, term: Term, verified: str) -> str:
    """Below a page's title: what the term is also called, how deep it goes, what to read first, how fresh it is.

    Args:
        glossary: All terms.
        term: The page's own.
        verified: The day on which the page's runs were last carried out; nothing where it has none.
    """
    facts = {
        "Level": glossary.settings.levels[term.level],
        "Also called": escape(", ".join(term.other_names)),
        "Read first": _links(term.prerequisites, glossary),
        "Last verified": f"{verified}, by running it" if verified else "",
        "Reviewed": term.reviewed.isoformat(),
    }
    items = "".join(f"- **{name}:** {fact}\n" for name, fact in facts.items() if fact)
    return f'<div class="ft-head" markdown>\n\n{items}\n</div>\n'


def related(glossary: Glossary, term: Term) -> str:
    """The terms that a page's relations name, with their definitions, and those that point here from elsewhere."""
    parts: list[str] = []
    shown: set[str] = set()
    for relation, reads in _READS.items():
        slugs = [slug for slug in term.related_by(relation) if slug not in shown]
        shown.update(slugs)
        if slugs:
            parts.append(_cards(reads, slugs, glossary))
    back = [slug for slug in glossary.backlinks[term.slug] if slug not in shown]
    if back:
        parts.append(f"**Leads on to** {_links(back, glossary)}\n")
    return f'<div class="ft-related" markdown>\n\n{chr(10).join(parts)}\n</div>\n'


def index(glossary: Glossary) -> str:
    """Every term with its summary, by first letter, with a choice of level that needs no script."""
    levels = glossary.settings.levels
    choices = "".join(
        f'<input type="radio" name="ft-level" id="ft-level-{level}" class="ft-choice"{" checked" * (level == "all")}>'
        f'<label for="ft-level-{level}">{escape(name)}</label>'
        for level, name in {"all": "All levels", **levels}.items()
    )
    by_letter: dict[str, list[Term]] = {}
    for term in glossary.terms.values():
        by_letter.setdefault(term.term[0].upper(), []).append(term)
    letters = " ".join(f"[{letter}](#{letter.lower()})" for letter in by_letter)
    parts = [
        f'<div class="ft-index" markdown>\n\n<div class="ft-levels" role="group" aria-label="Level">{choices}</div>\n',
        f'<p class="ft-letters" markdown>{letters}</p>\n',
    ]
    for letter, terms in by_letter.items():
        parts.append(f"## {letter} {{ #{letter.lower()} }}\n")
        parts += [_entry(term, levels) for term in terms]
    return "\n".join([*parts, "</div>\n"])


def flagships(glossary: Glossary, to: str) -> str:
    """The terms with a full page, as cards.

    Args:
        glossary: All terms.
        to: Where a term's page lies, seen from the cards' own page, with ``{}`` for its slug.
    """
    cards = [
        f"-   **{_link(slug, glossary, to)}**\n\n    {glossary.terms[slug].summary}\n"
        for slug in glossary.settings.flagships
    ]
    return '<div class="grid cards" markdown>\n\n' + "\n".join(cards) + "\n</div>\n"


def network(glossary: Glossary, to: str) -> str:
    """How the terms hang together, as a list; a script makes a picture of it where scripts run.

    Args:
        glossary: All terms.
        to: Where a term's page lies, seen from the list's own page, with ``{}`` for its slug.
    """
    lines = []
    for slug, term in glossary.terms.items():
        facts = [
            f"{reads.lower()} {_links(others, glossary, to)}"
            for relation, reads in _READS.items()
            if (others := term.related_by(relation))
        ]
        lines.append(f"- **{_link(slug, glossary, to)}**{': ' if facts else ''}{'; '.join(facts)}")
    return "\n".join(lines) + "\n"


def paths(glossary: Glossary, to: str) -> str:
    """The learning paths as ordered lists.

    Args:
        glossary: All terms.
        to: Where a term's page lies, seen from the paths' own page, with ``{}`` for its slug.
    """
    parts = []
    for name, path in glossary.settings.paths.items():
        parts.append(f"## {path.title} {{ #{name} }}\n\n{path.about}\n")
        steps = [
            f'{number}.  {_link(slug, glossary, to)}{{ data-step="{slug}" }}: {glossary.terms[slug].summary}'
            for number, slug in enumerate(path.terms, 1)
        ]
        parts.append(f'<div class="ft-path" data-path="{name}" markdown>\n\n' + "\n".join(steps) + "\n\n</div>\n")
    return "\n".join(parts)


def feedback(url: str) -> str:
    """A line that asks whether a page was helpful; nothing where there is no place to say so."""
    if not url:
        return ""
    link = f'<a href="{escape(url)}">Say what helped or is missing</a>'
    return f'<p class="ft-feedback">Was this page helpful? {link}.</p>\n'


def demo_link(url: str, embedded: str = "", notebook: str = "") -> str:
    """Buttons that open a demo: on a page of its own, and, for readers with JavaScript, on this one.

    Args:
        url: Where the demo runs.
        embedded: Where it runs for pages that show it within themselves.
        notebook: The same as a notebook.
    """
    links = [f'<a class="md-button md-button--primary" href="{escape(url)}">Open the live demo</a>']
    if embedded:
        links.append(
            f'<button type="button" class="md-button ft-embed" data-demo="{escape(embedded)}" hidden>'
            "Open it on this page</button>"
        )
    if notebook:
        links.append(f'<a class="md-button" href="{escape(notebook)}" download>Download the notebook</a>')
    return f'<p class="ft-try">{" ".join(links)}</p>\n'


def train_here(name: str, lesson: Mapping[str, Any]) -> str:
    """Where a page trains a lesson in the reader's browser, and what our own engine reached with it."""
    reached = []
    for start, found in lesson["measured"].items():
        prompts = len(lesson["prompts"])
        form = f", {found['formed']} of {prompts} unseen prompts answered in the form" if "formed" in found else ""
        of = f"{start}: " if len(lesson["measured"]) > 1 else ""
        reached.append(f"{of}held-out loss {found['loss']:.2f}{form}, {found['seconds']:.0f} s of training")
    shown = {
        "lesson": name,
        "knob": lesson.get("knob", ""),
        "own": lesson["own"],
        "ask": "Ask it" if lesson["chat"] else "Give it the first words",
        "prompt": lesson["prompts"][0],
    }
    data = " ".join(f'data-{key}="{escape(value)}"' for key, value in shown.items())
    return (
        f'<div class="ft-here">\n<p>{escape(lesson["about"])} When you press the button, your browser loads two '
        "megabytes, and then trains by itself: nothing that you type leaves this page.</p>\n"
        f"<ft-train {data}><noscript><p>This needs JavaScript.</p></noscript></ft-train>\n"
        "<p>What to expect: <code>ftdemo</code>, with the same rows in the same order, on two processor cores, reached "
        f"{escape('; '.join(reached))}. {escape(lesson['why'])}; your browser should end within {lesson['within']} of "
        f"that loss. <code>ftdemo site lessons {name}</code> measures ours anew.</p>\n"
        '<script type="module" src="../../assets/train-here/element.js"></script>\n</div>\n'
    )


def graph(glossary: Glossary) -> dict[str, Any]:
    """The network of terms as nodes with places between 0 and 1, and edges; the same for the same terms."""
    import networkx

    net = networkx.Graph()
    net.add_nodes_from(glossary.terms)
    for slug, term in glossary.terms.items():
        for relation in POINTERS:
            net.add_edges_from((slug, other) for other in term.related_by(relation))
    places = _spread(net)
    return {
        "levels": glossary.settings.levels,
        "nodes": [
            {"slug": slug, "term": term.term, "level": term.level, "x": round(x, 3), "y": round(y, 3)}
            for slug, term in glossary.terms.items()
            for x, y in [places[slug]]
        ],
        "edges": sorted(sorted(edge) for edge in net.edges),
    }


def _spread(net: Any) -> Mapping[str, tuple[float, float]]:
    """Places between 0 and 1 in which neighbours lie close to each other."""
    import networkx
    import numpy

    if len(net) < 2:
        return dict.fromkeys(net, (0.5, 0.5))
    many = len(net) > _MANY
    placed = (
        networkx.circular_layout(net)
        if many
        else networkx.spring_layout(net, seed=0, k=3 / len(net) ** 0.5, iterations=300)
    )
    at = _unit(numpy.array([placed[name] for name in net]))
    for _ in range(0 if many else _PUSHES):
        away = at[:, None] - at[None]
        near = (abs(away) < _LABEL).all(axis=2) & ~numpy.eye(len(at), dtype=bool)
        up = numpy.where(away[..., 1] == 0, numpy.sign(numpy.subtract.outer(range(len(at)), range(len(at)))), 0)
        at[:, 1] += (near * (numpy.sign(away[..., 1]) + up) * (_LABEL[1] - abs(away[..., 1]))).sum(axis=1) / 4
    return {name: (float(x), float(y)) for name, (x, y) in zip(net, _unit(at), strict=True)}


def _unit(at: numpy.ndarray) -> numpy.ndarray:
    """Places stretched to between 0 and 1 both ways."""
    import numpy

    low, high = at.min(axis=0), at.max(axis=0)
    unit: numpy.ndarray = (at - low) / numpy.where(high > low, high - low, 1)
    return unit


_LABEL = (0.12, 0.036)
"""How much room a name takes."""
_PUSHES = 300
_MANY = 400
"""From so many terms on a picture of all of them says nothing, and placing them takes long."""


def _cards(title: str, slugs: Iterable[str], glossary: Glossary) -> str:
    cards = "".join(f"{_link(slug, glossary)}\n:   {glossary.terms[slug].summary}\n\n" for slug in slugs)
    return f"**{title}**\n\n{cards}"


def _links(slugs: Iterable[str], glossary: Glossary, to: str = "{}.md") -> str:
    return ", ".join(_link(slug, glossary, to) for slug in slugs)


def _link(slug: str, glossary: Glossary, to: str = "{}.md") -> str:
    """A link to a term's page, from a page beside it unless `to` says otherwise."""
    return f"[{glossary.terms[slug].term}]({to.format(slug)})"


def _entry(term: Term, levels: Mapping[str, str]) -> str:
    also = f" ({escape(term.full_name)})" if term.full_name else ""
    return (
        f'<div class="ft-entry ft-at-{term.level}" markdown>\n\n'
        f'[{term.term}]({term.slug}.md){also} <span class="ft-level">{escape(levels[term.level])}</span>\n'
        f":   {term.summary}\n\n</div>\n"
    )
