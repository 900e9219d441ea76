"""Writes what pages include and what machines read: everything that follows from pages, code and plug-ins."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from urllib.parse import quote

from ftdemo.errors import DataError
from ftdemo.site import feeds, fragments
from ftdemo.site.blocks import with_code
from ftdemo.site.glossary import Glossary, body, head, load_settings, load_terms
from ftdemo.site.plugins import last_runs, load_plugins
from ftdemo.site.project import Project
from ftdemo.site.quotes import QUOTED, code_block
from ftdemo.site.sources import Bibliography, all_sources, load_bibliography, source_list
from ftdemo.site.term_map import term_map

_Files = Iterator[tuple[Path, str | bytes]]
"""Files to write, and their content."""
_INCLUDE = re.compile(r'^[ ]*--8<-- "[^"]*"\n?', re.MULTILINE)
_TAG = re.compile(r"</?(?:data|div|span)\b[^>]*>|<!--.*?-->", re.DOTALL)


def load_glossary(project: Project) -> Glossary:
    """The glossary of a project.

    Raises:
        DataError: If a page's head is not valid.
    """
    terms, problems = load_terms(project.terms())
    for page, line, problem in problems[:1]:
        raise DataError(f"{page}:{line}: {problem}", "`ftdemo site check` names them all.")
    return Glossary(load_settings(project.docs), terms)


def derive(project: Project) -> None:
    """Write everything that pages include. A file whose content is unchanged is left alone.

    Raises:
        DataError: If a page includes code, a source or a number that does not exist.
    """
    glossary, plugins = load_glossary(project), load_plugins(project)
    bibliography = load_bibliography(project.references)
    for path, content in chain(
        _quotes(project),
        _of_terms(project, glossary, last_runs(plugins), bibliography),
        _lists(project, glossary, bibliography),
        _for_machines(project, glossary),
        *(plugin.files() for plugin in plugins),
    ):
        _write(path, content)


def _quotes(project: Project) -> _Files:
    for page in project.pages():
        for name in QUOTED.findall(page.read_text(encoding="utf-8")):
            yield project.derived / "code" / f"{name}.md", code_block(project.package, name)


def _of_terms(project: Project, glossary: Glossary, last_run: Mapping[str, str], bibliography: Bibliography) -> _Files:
    """What each term's page includes."""
    for page in project.terms():
        term = glossary.terms[page.stem]
        verified = max((last_run.get(name, "") for name in term.runs), default="")
        yield project.derived / "head" / page.name, fragments.heading(glossary, term, verified)
        following = (
            fragments.related(glossary, term),
            feeds.json_ld(term, glossary, project.address(page), project.url),
            fragments.feedback(glossary.settings.feedback.format(name=quote(term.term))),
        )
        yield project.derived / "related" / page.name, "\n".join(filter(None, following))
        yield project.derived / "sources" / page.name, source_list(term.sources, bibliography, page)
        if term.demo:
            yield project.derived / "demos" / f"{term.demo}.md", _demo(project, glossary, term.demo)


def _demo(project: Project, glossary: Glossary, name: str) -> str:
    """The buttons that open a demo."""
    served_here = os.environ.get("FTDEMO_DEMOS_URL")
    url, embedded = served_here or glossary.settings.demos, served_here or glossary.settings.embedded
    notebook = project.docs / "notebooks" / f"{name}.ipynb"
    return fragments.demo_link(
        url.format(name=name),
        embedded.format(name=name),
        f"../../notebooks/{notebook.name}" if notebook.exists() else "",
    )


def _lists(project: Project, glossary: Glossary, bibliography: Bibliography) -> _Files:
    """What the pages include that are about all terms."""
    cited_by: dict[str, list[tuple[str, str]]] = {}
    for slug, term in glossary.terms.items():
        for key in term.sources:
            cited_by.setdefault(key, []).append((term.term, f"../terms/{slug}/"))
    folder = project.derived / "glossary"
    yield folder / "flagships.md", fragments.flagships(glossary, "terms/{}.md")
    yield folder / "index.md", fragments.index(glossary)
    yield folder / "map.html", term_map(glossary, "../terms/{}/")
    yield folder / "network.md", fragments.network(glossary, "terms/{}.md")
    yield folder / "paths.md", fragments.paths(glossary, "terms/{}.md")
    yield folder / "references.md", all_sources(bibliography, cited_by)


def _for_machines(project: Project, glossary: Glossary) -> _Files:
    pages = {page.stem: page for page in project.terms()}
    addresses = {slug: project.address(page) for slug, page in pages.items()}
    texts = {slug: _plain(page, project) for slug, page in pages.items()}
    others = {
        project.address(page): str(head(page).get("title", page.stem))
        for page in project.pages()
        if page.parent != project.docs / "terms" and _is_published(page, project)
    }
    yield project.docs / "glossary.json", feeds.term_set(glossary, addresses, project.url)
    yield project.docs / "llms.txt", feeds.llms(glossary, addresses, project.url, others)
    yield project.docs / "llms-full.txt", feeds.llms_full(glossary, texts)
    yield project.docs / "feed.xml", feeds.feed(glossary, addresses, project.url)
    assets = project.docs / "assets" / "derived"
    yield assets / "cards.json", feeds.cards(glossary, addresses)


def _is_published(page: Path, project: Project) -> bool:
    """Whether the site's configuration does not leave a page out."""
    left_out = [line.strip().strip("/") for line in str(project.site.get("exclude_docs") or "").split("\n")]
    name = page.relative_to(project.docs).as_posix()
    return not any(part and fnmatch(name, f"{part}/*") for part in left_out)


def _plain(page: Path, project: Project) -> str:
    """A page's text with its code, but without its head, all else that it includes, and tags."""
    content, _ = body(page.read_text(encoding="utf-8"))
    return _TAG.sub("", _INCLUDE.sub("", with_code(content, project)))


def _write(path: Path, text: str | bytes) -> None:
    content = text.encode() if isinstance(text, str) else text
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
