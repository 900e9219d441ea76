"""Statements about results, ``<claim id="experiment:id" verdict="refuted">sentence</claim>``, bound to their verdicts.

The writer declares the verdict that the sentence expresses. Whether it is the recorded one is checked, and so is that
no other bold sentence or heading states a result.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ftdemo.site.blocks import FENCED
from ftdemo.site.number_tags import NUMBER
from ftdemo.site.plugins import Plugin, RecordedVerdict

_CLAIM = re.compile(r'<claim id="(?P<id>[^"]+)" verdict="(?P<verdict>[^"]*)">(?P<text>.*?)</claim>', re.DOTALL)
_SECTION = re.compile(r"^## ", re.MULTILINE)
_BOLD = re.compile(r"\*\*(?=\S)(?P<text>[^*]+?)(?<=\S)\*\*(?P<after>[.!?]?)")
_TITLE = re.compile(r'^(?:#{2,} +(?P<heading>.*)|[!?]{3}\+? (?!question)\w+ "(?P<admonition>.*)")$', re.MULTILINE)
_SHOWS_RESULTS = re.compile(r'--8<-- "runs/|<data value=')
_WORDS_IN_SENTENCE = 3


def claim_problems(text: str, plugins: Sequence[Plugin]) -> Iterator[tuple[int, str]]:
    """What is wrong with a page's statements about results: the line, and what to do."""
    prose = FENCED.sub(lambda match: "\n" * match[0].count("\n"), text)
    for match in _CLAIM.finditer(prose):
        if problem := _declared_wrongly(match["id"], match["verdict"], plugins):
            yield _line(prose, match.start()), problem
    unbound = _CLAIM.sub(lambda match: "\n" * match[0].count("\n"), prose)
    if unbound.count("<claim"):
        place = _line(unbound, unbound.index("<claim"))
        yield place, 'a <claim> tag is broken. Write <claim id="experiment:id" verdict="…">sentence</claim>.'
    for start, end in _sections(unbound):
        if _SHOWS_RESULTS.search(unbound, start, end):
            yield from _unbound_statements(unbound, start, end)


def show_claims(text: str, plugins: Sequence[Plugin], to_docs: str) -> str:
    """A page's text with the tags as Markdown: each sentence with a link to the evidence for it.

    Args:
        text: The page's Markdown.
        plugins: Have the verdicts.
        to_docs: The path from the page's folder to ``docs``: ``../`` from a term's page.
    """

    def shown(match: re.Match[str]) -> str:
        """A claim's sentence with a link to its evidence, if there is any."""
        found = _verdict(match["id"], plugins)
        if not found:
            return match["text"]
        # Not the verdict's word: "it did not rise" is what a reader is told of a claim that was refuted.
        return f"{match['text']} [evidence]({to_docs}{found.page}){{ .evidence }}"

    return _CLAIM.sub(shown, text)


def _verdict(claim: str, plugins: Sequence[Plugin]) -> RecordedVerdict | None:
    return next(filter(None, (plugin.verdict(claim) for plugin in plugins)), None)


def _declared_wrongly(claim: str, declared: str, plugins: Sequence[Plugin]) -> str:
    """What is wrong with a declared verdict; nothing if it is the recorded one."""
    recorded = _verdict(claim, plugins)
    if recorded is None:
        return f"there is no recorded claim `{claim}`. Name one as `experiment:id`."
    if declared != recorded.word:
        return f"claim `{claim}` is {recorded.word}, but the sentence is declared {declared}. Correct the sentence."
    return ""


def _sections(text: str) -> Iterator[tuple[int, int]]:
    """Where each part of a page begins and ends."""
    starts = [0, *(match.start() for match in _SECTION.finditer(text))]
    yield from zip(starts, [*starts[1:], len(text)], strict=True)


def _unbound_statements(text: str, start: int, end: int) -> Iterator[tuple[int, str]]:
    """Bold sentences and titles in a part that shows results: each would state one without a claim."""
    for match in _BOLD.finditer(text, start, end):
        if NUMBER.search(match["text"]) or _is_sentence(match["text"] + match["after"]):
            what = f"the bold sentence `{_short(match['text'])}` is bound to no claim."
            yield _line(text, match.start()), f"{what} Put it into a <claim> tag, or do not set it in bold."
    for match in _TITLE.finditer(text, start, end):
        title = match["heading"] or match["admonition"] or ""
        if NUMBER.search(title) or _is_sentence(title):
            what = f"the title `{_short(title)}` states a result and is bound to no claim."
            yield _line(text, match.start()), f"{what} Put it into a <claim> tag, or name the subject."


def _is_sentence(text: str) -> bool:
    return text.rstrip().endswith((".", "!")) and len(text.split()) >= _WORDS_IN_SENTENCE


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 60 else words[:59] + "…"


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1
