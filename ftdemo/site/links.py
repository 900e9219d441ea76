"""The first mention of a term on a page becomes a link to its page. Headings, code and formulas stay the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
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
_RUN = re.compile(r"[\w/-]+")
"""What counts as one word here: a name within it does not count."""


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
        self._by_first: dict[str, list[tuple[str, str]]] = {}
        names = {name: slug for slug, term in reversed(list(glossary.terms.items())) for name in term.names}
        for name in sorted(names, key=len, reverse=True):
            for written in (name,) if _is_proper(name) else (name, f"{name}s"):
                if first := _RUN.match(written):
                    self._by_first.setdefault(first[0].casefold(), []).append((written, names[name]))

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
            for at, until, slug in self._names(content, start, end):
                if slug == own or slug in found or linked.get(slug, len(content)) < at:
                    continue
                line = first_line + content.count("\n", 0, at)
                found[slug] = Mention(slug, offset + at, offset + until, line)
        return list(found.values())

    def _names(self, content: str, start: int, end: int) -> Iterator[tuple[int, int, str]]:
        """Where a name begins and ends, the longest first, and the slug of its term."""
        done = start
        for run in _RUN.finditer(content, start, end):
            if run.start() < done or (run.start() == start and start and _RUN.match(content[start - 1])):
                continue
            for written, slug in self._by_first.get(run[0].casefold(), ()):
                done = run.start() + len(written)
                found = " ".join(content[run.start() : done].split())
                same = found == written if _is_proper(written) else found.casefold() == written.casefold()
                if same and done <= end and not _RUN.match(content, done):
                    yield run.start(), done, slug
                    break
            else:
                done = run.end()

    def link(self, text: str, own: str = "", to: str = "{}.md") -> str:
        """The page with each first mention as a link.

        Args:
            text: The page, head included.
            own: The slug of the term that the page is about.
            to: The address of a term's page, seen from this one, with ``{}`` for its slug.
        """
        for mention in sorted(self.mentions(text, own), key=lambda mention: -mention.start):
            name = text[mention.start : mention.end]
            text = f"{text[: mention.start]}[{name}]({to.format(mention.slug)}){text[mention.end :]}"
        return text


def _open_parts(content: str) -> Iterator[tuple[int, int]]:
    """Where running text begins and ends."""
    at = 0
    for spared in _SPARED.finditer(content):
        yield at, spared.start()
        at = spared.end()
    yield at, len(content)


def _is_proper(name: str) -> bool:
    """Whether a name is written in one way only, as LoRA and RAG are."""
    return sum(letter.isupper() for letter in name) > 1
