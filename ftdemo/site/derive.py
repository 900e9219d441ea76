"""Writes what pages include and what machines read: everything that follows from pages, records and code."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path
from urllib.parse import quote

from ftdemo import charts
from ftdemo.errors import DataError
from ftdemo.experiments.spec import find_experiments
from ftdemo.site import feeds, lessons, parts
from ftdemo.site.glossary import Glossary, Term, body, head, load_settings, load_terms
from ftdemo.site.measured import Records, load_records, overview, panels
from ftdemo.site.project import Project
from ftdemo.site.quotes import QUOTED, code_block
from ftdemo.site.sources import Bibliography, all_sources, load_bibliography, source_list

_INCLUDE = re.compile(r'^[ ]*--8<-- "[^"]*"\n?', re.MULTILINE)
_TAG = re.compile(r"</?(?:data|div|span)\b[^>]*>|<!--.*?-->", re.DOTALL)


def load_glossary(project: Project) -> Glossary:
    """The glossary of a project.

    Raises:
        DataError: If a page's head is not as it should be.
    """
    terms, problems = load_terms(project.terms())
    for page, line, problem in problems[:1]:
        raise DataError(f"{page}:{line}: {problem}", "`ftdemo site check` names them all.")
    return Glossary(load_settings(project.docs), terms)


def derive(project: Project) -> None:
    """Write everything that pages include. A file whose text is unchanged is left alone.

    Raises:
        DataError: If a page asks for code, a source or a number that is not there.
    """
    glossary, records = load_glossary(project), load_records(project.experiments)
    bibliography = load_bibliography(project.references)
    _derive_runs(project, records)
    _derive_quotes(project)
    _derive_lessons(project)
    _derive_terms(project, glossary, records, bibliography)
    _derive_lists(project, glossary, bibliography)
    _derive_for_machines(project, glossary)
    _write(project.docs / "assets" / "derived" / "charts.css", charts.CSS.lstrip())


def last_verified(term: Term, records: Records) -> str:
    """The day on which the last of a term's runs was carried out; nothing where it has none."""
    return max((records[name]["created"][:10] for name in term.runs if name in records), default="")


def _derive_runs(project: Project, records: Records) -> None:
    experiments = find_experiments(project.experiments)
    for name, record in records.items():
        for file, text in panels(experiments[name], record).items():
            _write(project.derived / "runs" / name / file, text)
    _write(project.derived / "runs" / "overview.md", overview(experiments, records))


def _derive_quotes(project: Project) -> None:
    for page in project.pages():
        for name in QUOTED.findall(page.read_text(encoding="utf-8")):
            _write(project.derived / "code" / f"{name}.md", code_block(project.package, name))


def _derive_lessons(project: Project) -> None:
    """What pages include to train in the browser, and the model for it, compressed."""
    found = lessons.find_lessons(project.docs)
    for path in found:
        _write(
            project.derived / "train-here" / f"{path.stem}.html", parts.train_here(path.stem, lessons.read_lesson(path))
        )
    for name in lessons.OF_THE_MODEL if found else ():
        content = gzip.compress((lessons.model_folder() / name).read_bytes(), mtime=0)
        _write(project.docs / "assets" / "derived" / lessons.MODEL / f"{name}.gz", content)


def _derive_terms(project: Project, glossary: Glossary, records: Records, bibliography: Bibliography) -> None:
    """What each term's page includes."""
    for page in project.terms():
        term = glossary.terms[page.stem]
        data = feeds.json_ld(term, glossary, project.address(page), project.url)
        _write(project.derived / "head" / page.name, parts.heading(glossary, term, last_verified(term, records)))
        ask = parts.feedback(glossary.settings.feedback.format(name=quote(term.term)))
        related = "\n".join(filter(None, [parts.related(glossary, term), data, ask]))
        _write(project.derived / "related" / page.name, related)
        _write(project.derived / "sources" / page.name, source_list(term.sources, bibliography, page))
        if term.demo:
            url = os.environ.get("FTDEMO_DEMOS_URL") or glossary.settings.demos
            embedded = os.environ.get("FTDEMO_DEMOS_URL") or glossary.settings.embedded
            notebook = project.docs / "notebooks" / f"{term.demo}.ipynb"
            links = parts.demo_link(
                url.format(name=term.demo),
                embedded.format(name=term.demo),
                f"../../notebooks/{notebook.name}" if notebook.exists() else "",
            )
            _write(project.derived / "demos" / f"{term.demo}.md", links)


def _derive_lists(project: Project, glossary: Glossary, bibliography: Bibliography) -> None:
    """What the pages include that are about all terms."""
    citing: dict[str, list[tuple[str, str]]] = {}
    for slug, term in glossary.terms.items():
        for key in term.sources:
            citing.setdefault(key, []).append((term.term, f"../terms/{slug}/"))
    lists = {
        "flagships.md": parts.flagships(glossary, "terms/{}.md"),
        "index.md": parts.index(glossary),
        "network.md": parts.network(glossary, "terms/{}.md"),
        "paths.md": parts.paths(glossary, "terms/{}.md"),
        "references.md": all_sources(bibliography, citing),
    }
    for name, text in lists.items():
        _write(project.derived / "glossary" / name, text)


def _derive_for_machines(project: Project, glossary: Glossary) -> None:
    pages = {page.stem: page for page in project.terms()}
    addresses = {slug: project.address(page) for slug, page in pages.items()}
    texts = {slug: _plain(page) for slug, page in pages.items()}
    others = {
        project.address(page): str(head(page).get("title", page.stem))
        for page in project.pages()
        if page.parent != project.docs / "terms" and _is_published(page, project)
    }
    files = {
        "glossary.json": feeds.term_set(glossary, addresses, project.url),
        "llms.txt": feeds.llms(glossary, addresses, project.url, others),
        "llms-full.txt": feeds.llms_full(glossary, texts),
        "feed.xml": feeds.feed(glossary, addresses, project.url),
        "assets/derived/cards.json": feeds.cards(glossary, addresses),
        "assets/derived/graph.json": json.dumps(parts.graph(glossary), separators=(",", ":")) + "\n",
    }
    for name, text in files.items():
        _write(project.docs / name, text)


def _is_published(page: Path, project: Project) -> bool:
    """Whether the site's configuration does not leave a page out."""
    left_out = [line.strip().strip("/") for line in str(project.site.get("exclude_docs") or "").split("\n")]
    name = page.relative_to(project.docs).as_posix()
    return not any(part and name.startswith(f"{part}/") for part in left_out)


def _plain(page: Path) -> str:
    """A page's text without its head, what it includes, and tags."""
    content, _ = body(page.read_text(encoding="utf-8"))
    return _TAG.sub("", _INCLUDE.sub("", content))


def _write(path: Path, text: str | bytes) -> None:
    content = text.encode() if isinstance(text, str) else text
    if not path.exists() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
