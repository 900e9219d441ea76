"""Finds problems in a glossary's pages, each with page, line and remedy, and fixes those that follow from elsewhere."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ftdemo.errors import DataError
from ftdemo.site.blocks import FENCED, block_problem, blocks
from ftdemo.site.claim_tags import claim_problems
from ftdemo.site.glossary import POINTERS, RELATIONS, Glossary, Term, body, line_of, load_settings, load_terms
from ftdemo.site.links import Linker
from ftdemo.site.number_tags import NUMBER, update_numbers
from ftdemo.site.plugins import Plugin, last_runs, load_plugins
from ftdemo.site.project import Project
from ftdemo.site.quotes import QUOTED, untested
from ftdemo.site.sources import CITED, Bibliography, load_bibliography

_HEADING = re.compile(r"^## +(.*?)(?: *\{[^}]*\})? *$", re.MULTILINE)
_TODO = re.compile(r"\bTODO\b")


@dataclass(frozen=True)
class Problem:
    """Something that is wrong on a page."""

    page: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.what}"


@dataclass(frozen=True)
class _Page:
    """A term's page, read once."""

    name: str
    text: str

    def problem(self, key: str, what: str) -> Problem:
        """Something that is wrong with a key of the page's head."""
        return Problem(self.name, line_of(self.text, key), what)


def check_site(project: Project, *, code: bool = False) -> list[str]:
    """Problems in the pages, as ``file:line: what is wrong and how to fix it``.

    Args:
        project: The glossary's folder.
        code: Whether to check the code of pages, too: Python is run, which takes a while; YAML and JSON are read.

    Raises:
        DataError: If the glossary's own settings cannot be read.
    """
    terms, broken = load_terms(project.terms())
    found = [Problem(_name(page, project), line, what) for page, line, what in broken]
    glossary = Glossary(load_settings(project.docs), terms)
    found += _settings_problems(glossary)
    plugins, linker = load_plugins(project), Linker(glossary)
    last_run = last_runs(plugins)
    bibliography = load_bibliography(project.references)
    for page in project.terms():
        if page.stem in terms:
            read, term = _Page(_name(page, project), page.read_text(encoding="utf-8")), terms[page.stem]
            found += _term_problems(read, term, project, glossary, last_run)
            found += _source_problems(read, term, bibliography)
    for page in project.pages():
        found += _page_problems(page, project, plugins, linker)
        if code:
            found += code_problems(page, project)
    found += _unused_sources(bibliography, glossary)
    return [str(problem) for problem in sorted(found, key=lambda problem: (problem.page, problem.line, problem.what))]


def fill(project: Project) -> list[Path]:
    """Write into the pages what follows from elsewhere: recorded numbers, and links at first mentions.

    Returns:
        The pages that changed.

    Raises:
        DataError: If a page names a number that is not recorded.
    """
    terms, _ = load_terms(project.terms())
    linker = Linker(Glossary(load_settings(project.docs), terms))
    plugins, changed = load_plugins(project), []
    for page in project.pages():
        text = page.read_text(encoding="utf-8")
        filled = update_numbers(text, plugins)
        if _is_linked(page, project):
            filled = linker.link(filled, _own_slug(page, project), _path_to_terms(page, project))
        if filled != text:
            page.write_text(filled, encoding="utf-8")
            changed.append(page)
    return changed


def _settings_problems(glossary: Glossary) -> Iterator[Problem]:
    """Names in ``glossary.yaml`` that no term has, and terms that are not under exactly one subject."""
    settings = glossary.settings
    named = {f"path {name}": path.terms for name, path in settings.paths.items()}
    named |= {f"subject {name}": slugs for name, slugs in settings.subjects.items()}
    named |= {"flagships": settings.flagships, "also_typed": tuple(settings.also_typed)}
    for place, slugs in named.items():
        for slug in slugs:
            if slug not in glossary.terms:
                yield Problem(
                    "docs/glossary.yaml", 1, f"{place}: there is no term `{slug}`. Write its page or drop it."
                )
    found = Counter(chain.from_iterable(settings.subjects.values()))
    for slug in glossary.terms if settings.subjects else ():
        if found[slug] != 1:
            what = f"{slug} is under {found[slug]} subjects. List it under one."
            yield Problem("docs/glossary.yaml", 1, what)


def _term_problems(
    page: _Page, term: Term, project: Project, glossary: Glossary, last_run: Mapping[str, str]
) -> Iterator[Problem]:
    yield from _relation_problems(page, term, glossary)
    if term.level not in glossary.settings.levels:
        levels = ", ".join(glossary.settings.levels)
        yield page.problem("level", f"there is no level `{term.level}`. The levels are: {levels}.")
    if term.description and term.description != term.summary:
        yield page.problem("description", "`description` differs from `summary`. Make them the same.")
    if term.demo and not (project.demos / term.demo / "app.py").exists():
        yield page.problem("demo", f"there is no demos/{term.demo}/app.py. Name a demo that exists.")
    for run in term.runs:
        if run not in last_run:
            yield page.problem("runs", f"there is no experiment `{run}`. Name one that exists.")
        elif not last_run[run]:
            yield page.problem("runs", f"`{run}` was not recorded. Run `ftdemo record {run}`.")
    yield from _anatomy_problems(page, term, glossary)


def _relation_problems(page: _Page, term: Term, glossary: Glossary) -> Iterator[Problem]:
    for relation in POINTERS:
        for other in term.related_by(relation):
            back = RELATIONS.get(relation)
            if other == term.slug:
                yield page.problem(relation, f"`{relation}` names the term itself. Drop it.")
            elif other not in glossary.terms:
                what = f"`{relation}`: there is no term `{other}`. Write its page or drop it."
                yield page.problem(relation, what)
            elif back and term.slug not in glossary.terms[other].related_by(back):
                what = f"`{relation}` names {other}, whose `{back}` does not name {term.slug}. Add it there."
                yield page.problem(relation, what)
    if _needs_itself(term.slug, glossary):
        yield page.problem("prerequisites", "the term is a prerequisite of itself. Break the circle.")
    if len(glossary.terms) > 1 and not glossary.backlinks[term.slug]:
        yield Problem(page.name, 1, "no other term points here. Relate it to one.")


def _needs_itself(slug: str, glossary: Glossary) -> bool:
    seen: set[str] = set()
    ahead = list(glossary.terms[slug].prerequisites)
    while ahead:
        other = ahead.pop()
        if other == slug:
            return True
        if other in glossary.terms and other not in seen:
            seen.add(other)
            ahead += glossary.terms[other].prerequisites
    return False


def _anatomy_problems(page: _Page, term: Term, glossary: Glossary) -> Iterator[Problem]:
    """Parts that are missing or in another order."""
    content, _ = body(page.text)
    headings = _HEADING.findall(FENCED.sub("", content))
    at = -1
    for part in glossary.anatomy(term.slug):
        if part == "Sources" and not term.sources:
            continue
        options = [option.strip() for option in part.split("|")]
        places = [headings.index(option) for option in options if option in headings]
        if not places:
            yield Problem(page.name, 1, f"there is no part `## {' or '.join(options)}`. Write it.")
        elif max(places) < at:
            yield Problem(page.name, 1, f"`## {options[0]}` comes too early. Follow the order of docs/glossary.yaml.")
        at = max([at, *places])


def _source_problems(page: _Page, term: Term, bibliography: Bibliography) -> Iterator[Problem]:
    named = set(term.sources)
    matches = reversed(list(CITED.finditer(page.text)))
    cited = {match[1]: page.text.count("\n", 0, match.start()) + 1 for match in matches}
    for key in sorted(named - set(bibliography)):
        yield page.problem("sources", f"source {key} is not in references.bib. Add it.")
    for key in sorted(set(cited) - named):
        yield Problem(page.name, cited[key], f"{key} is cited, but not under `sources`. Add it.")
    for key in sorted(named - set(cited)):
        yield page.problem("sources", f"source {key} is never cited. Cite it or drop it.")


def _unused_sources(bibliography: Bibliography, glossary: Glossary) -> Iterator[Problem]:
    used = {key for term in glossary.terms.values() for key in term.sources}
    for key in sorted(set(bibliography) - used):
        yield Problem("docs/references.bib", 1, f"{key} is used by no page. Cite it or drop it.")


def _page_problems(page: Path, project: Project, plugins: Sequence[Plugin], linker: Linker) -> Iterator[Problem]:
    name, text = _name(page, project), page.read_text(encoding="utf-8")
    for number, line in enumerate(text.split("\n"), 1):
        if _TODO.search(line):
            yield Problem(name, number, "a TODO is left. Replace it with text.")
        yield from _number_problems(name, number, line, plugins)
    for number, what in claim_problems(text, plugins):
        yield Problem(name, number, what)
    for quoted in QUOTED.findall(text):
        if untested(project.package, quoted, project.root / "tests"):
            yield Problem(name, 1, f"no test imports the module of {quoted}. Quote code that is tested.")
    if _is_linked(page, project):
        for mention in linker.mentions(text, _own_slug(page, project)):
            name_used = text[mention.start : mention.end]
            what = f"the first mention of {mention.slug} (`{name_used}`) is not a link. Run `ftdemo site fill`."
            yield Problem(name, mention.line, what)


def _number_problems(name: str, number: int, line: str, plugins: Sequence[Plugin]) -> Iterator[Problem]:
    if len(re.findall(r"<data\b", line)) != len(NUMBER.findall(line)):
        yield Problem(name, number, 'a <data> tag is broken. Write <data value="key">number</data> on one line.')
    try:
        differs = update_numbers(line, plugins) != line
    except DataError as error:
        yield Problem(name, number, f"{error.what} {error.remedy}")
        return
    if differs:
        yield Problem(name, number, "a number differs from its record. Run `ftdemo site fill`.")


def code_problems(page: Path, project: Project) -> Iterator[Problem]:
    """What is wrong with the code of a page."""
    for block in blocks(page.read_text(encoding="utf-8")):
        if problem := block_problem(block, project):
            yield Problem(_name(page, project), block.line, problem)


def _is_linked(page: Path, project: Project) -> bool:
    """Whether first mentions on a page become links: on terms' pages and guides, not on generated reference pages."""
    folder = page.relative_to(project.docs).parts[0]
    return folder in ("terms", "guides") and page.stem != "index"


def _own_slug(page: Path, project: Project) -> str:
    return page.stem if page.parent == project.docs / "terms" else ""


def _path_to_terms(page: Path, project: Project) -> str:
    return "{}.md" if page.parent == project.docs / "terms" else "../terms/{}.md"


def _name(page: Path, project: Project) -> str:
    return page.relative_to(project.root).as_posix()
