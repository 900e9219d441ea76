"""The first mention of a term on a page becomes a link to the term's page. Headings, code and formulas are let be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ftdemo.site.glossary import Glossary, body

_SPARED = re.compile(
    r"""
      ^(`{3,}|~{3,})[^\n]*\n.*?^\1[ \t]*$   # fenced code and formulas
    | ^[ ]+(`{3,})[^\n]*\n.*?^[ ]+\2[ \t]*$  # the same, indented
    | ^\#.*?$                               # headings
    | ^[ ]*(?:!!!|\?\?\?\+?|===|--8<--).*?$ # titles of boxes and tabs, what is included
    | <!--.*?-->
    | <[^>\n]*>
    | `[^`\n]+`
    | !?\[[^\]]*\]\([^)]*\)                 # links and pictures
    | \[[^\]\n]*\]\[[^\]\n]*\]
    | https?://\S+
    | \{[^}\n]*\}
    """,
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)
_TARGET = re.compile(r"\]\((?P<path>(?:[\w.-]+/)*(?P<slug>[\w-]+)\.md)(?:#[\w-]*)?(?:\s+\"[^\"]*\")?\)")
Named = Callable[[str], str | None]


@dataclass(frozen=True)
class Mention:
    """A term's first mention on a page, which is no link."""

    slug: str
    start: int
    end: int
    line: int


class Linker:
    """Finds the names of all terms in pages."""

    def __init__(self, glossary: Glossary) -> None:
        self._slugs: dict[str, str] = {}
        for slug, term in glossary.terms.items():
            for name in term.names:
                self._slugs.setdefault(_key(name), slug)
        written = sorted({name for term in glossary.terms.values() for name in term.names}, key=len, reverse=True)
        options = "|".join(re.escape(name) if _is_proper(name) else f"(?i:{re.escape(name)}s?)" for name in written)
        self._names = re.compile(rf"(?<![\w/-])(?:{options})(?![\w/-])") if written else re.compile(r"(?!)")

    def mentions(self, text: str, own: str = "") -> list[Mention]:
        """The first mentions on a page that are not yet links, in their order.

        Args:
            text: The page, head included.
            own: The slug of the term that the page is about, which it does not link to.
        """
        content, first_line = body(text)
        offset = len(text) - len(content)
        linked = {match["slug"]: match.start() for match in reversed(list(_TARGET.finditer(content)))}
        found: dict[str, Mention] = {}
        for start, end in _open_parts(content):
            for match in self._names.finditer(content, start, end):
                slug = self._slugs.get(_key(match[0])) or self._slugs[_key(match[0][:-1])]  # or its plural
                if slug == own or slug in found or linked.get(slug, len(content)) < match.start():
                    continue
                line = first_line + content.count("\n", 0, match.start())
                found[slug] = Mention(slug, offset + match.start(), offset + match.end(), line)
        return list(found.values())

    def link(self, text: str, own: str = "", to: str = "{}.md") -> str:
        """The page with each first mention as a link.

        Args:
            text: The page, head included.
            own: The slug of the term that the page is about.
            to: Where a term's page lies, seen from this one, with ``{}`` for its slug.
        """
        for mention in sorted(self.mentions(text, own), key=lambda mention: -mention.start):
            said = text[mention.start : mention.end]
            text = f"{text[: mention.start]}[{said}]({to.format(mention.slug)}){text[mention.end :]}"
        return text


def _open_parts(content: str) -> Iterator[tuple[int, int]]:
    """Where running text stands."""
    at = 0
    for spared in _SPARED.finditer(content):
        yield at, spared.start()
        at = spared.end()
    yield at, len(content)


def _is_proper(name: str) -> bool:
    """Whether a name is written in one way only, as LoRA and RAG are."""
    return sum(letter.isupper() for letter in name) > 1


def _key(name: str) -> str:
    return name if _is_proper(name) else name.casefold()
