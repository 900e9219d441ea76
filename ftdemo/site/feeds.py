"""The glossary for machines: schema.org, plain text for language models, and a feed of what is new."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ftdemo.site.glossary import Glossary, Term
from ftdemo.site.rendering import render_template

_NEWEST = 40


def defined_term(term: Term, glossary: Glossary, address: str, url: str) -> dict[str, Any]:
    """A term as a schema.org DefinedTerm.

    Args:
        term: The term.
        glossary: The set that it is of.
        address: Where its page is published, below `url`.
        url: Where the site begins.
    """
    return {
        "@type": "DefinedTerm",
        "@id": url + address,
        "name": term.term,
        "description": term.summary,
        "termCode": term.slug,
        "url": url + address,
        "inDefinedTermSet": {"@type": "DefinedTermSet", "@id": url + "glossary.json", "name": glossary.settings.name},
        **({"alternateName": list(term.other_names)} if term.other_names else {}),
    }


def json_ld(term: Term, glossary: Glossary, address: str, url: str) -> str:
    """The same as a script element for the term's page."""
    data = {"@context": "https://schema.org", **defined_term(term, glossary, address, url)}
    return render_template("defined_term.html", data=data)


def term_set(glossary: Glossary, addresses: Mapping[str, str], url: str) -> str:
    """All terms as a schema.org DefinedTermSet."""
    data = {
        "@context": "https://schema.org",
        "@type": "DefinedTermSet",
        "@id": url + "glossary.json",
        "name": glossary.settings.name,
        "description": glossary.settings.about,
        "hasDefinedTerm": [
            {key: value for key, value in found.items() if key != "inDefinedTermSet"}
            for found in (defined_term(term, glossary, addresses[slug], url) for slug, term in glossary.terms.items())
        ],
    }
    return json.dumps(data, ensure_ascii=False, indent=1) + "\n"


def cards(glossary: Glossary, addresses: Mapping[str, str]) -> str:
    """What the card at a link holds, and the names by which the search finds a term, by the address of its page."""
    levels = glossary.settings.levels
    found = {
        addresses[slug]: {
            "term": term.term,
            "names": term.other_names,
            "summary": term.summary,
            "level": levels[term.level],
        }
        for slug, term in glossary.terms.items()
    }
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n"


def llms(glossary: Glossary, addresses: Mapping[str, str], url: str, others: Mapping[str, str]) -> str:
    """``llms.txt``: a list of all pages, in the format of llmstxt.org.

    Args:
        glossary: All terms.
        addresses: Where each term's page is published, below `url`.
        url: Where the site begins.
        others: Titles of other pages by their addresses.
    """
    terms = "\n".join(
        f"- [{term.term}]({url}{addresses[slug]}): {term.summary}" for slug, term in glossary.terms.items()
    )
    pages = "\n".join(f"- [{title}]({url}{address})" for address, title in others.items())
    return (
        f"# {glossary.settings.name}\n\n> {glossary.settings.about}\n\n"
        f"All terms in one file: {url}llms-full.txt\n\n## Terms\n\n{terms}\n\n## Other pages\n\n{pages}\n"
    )


def llms_full(glossary: Glossary, texts: Mapping[str, str]) -> str:
    """``llms-full.txt``: the text of every term's page, one after the other."""
    title = f"# {glossary.settings.name}\n\n{glossary.settings.about}\n"
    return "\n\n".join([title, *(texts[slug].strip() + "\n" for slug in glossary.terms)])


def feed(glossary: Glossary, addresses: Mapping[str, str], url: str) -> str:
    """An Atom feed (RFC 4287) of the terms that were reviewed last."""
    newest = sorted(glossary.terms.values(), key=lambda term: (term.reviewed, term.slug), reverse=True)[:_NEWEST]
    return render_template("feed.xml", settings=glossary.settings, newest=newest, addresses=addresses, url=url)
