"""What does not hold on a glossary's pages, each problem with page, line and remedy; and the mending of what can be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ftdemo.errors import DataError
from ftdemo.experiment import find_experiments
from ftdemo.site.glossary import RELATIONS, Glossary, Term, body, line_of, load_settings, load_terms
from ftdemo.site.links import Linker
from ftdemo.site.measured import NUMBER, Records, load_records, rewrite
from ftdemo.site.project import Project
from ftdemo.site.quotes import QUOTED, python_blocks, run_block, untested
from ftdemo.site.sources import CITED, load_bibliography

_HEADING = re.compile(r"^## +(.*?)(?: *\{[^}]*\})? *$", re.MULTILINE)
_FENCED = re.compile(r"^ *(`{3,})[^\n]*\n.*?^ *\1", re.DOTALL | re.MULTILINE)
_TODO = re.compile(r"\bTODO\b")


@dataclass(frozen=True)
class Problem:
    """Something on a page that does not hold."""

    page: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.what}"


def check(project: Project, *, code: bool = False) -> list[str]:
    """Problems in the pages, as ``file:line: what is wrong and how to mend it``.

    Args:
        project: The glossary's folder.
        code: Whether to run the Python blocks of pages, which takes a while.

    Raises:
        DataError: If the glossary's own settings cannot be read.
    """
    terms, broken = load_terms(project.terms())
    found = [Problem(_name(page, project), line, what) for page, line, what in broken]
    glossary = Glossary(load_settings(project.docs), terms)
    found += _settings_problems(project, glossary)
    for page in project.terms():
        if page.stem in terms:
            found += _term_problems(page, project, glossary)
    records, linker = load_records(project.experiments), Linker(glossary)
    for page in project.pages():
        found += _page_problems(page, project, records, linker)
        if code:
            found += _code_problems(page, project)
    found += _unused_sources(project, glossary)
    return [str(problem) for problem in sorted(found, key=lambda problem: (problem.page, problem.line, problem.what))]


def fill(project: Project) -> list[Path]:
    """Write into the pages what follows from elsewhere: recorded numbers, links at first mentions, descriptions.

    Returns:
        The pages that changed.

    Raises:
        DataError: If a page names a number that is not recorded.
    """
    terms, _ = load_terms(project.terms())
    linker = Linker(Glossary(load_settings(project.docs), terms))
    records, changed = load_records(project.experiments), []
    for page in project.pages():
        text = page.read_text(encoding="utf-8")
        filled = rewrite(text, records)
        if _is_linked(page, project):
            filled = linker.link(filled, _own(page, project), _way_to_terms(page, project))
        if filled != text:
            page.write_text(filled, encoding="utf-8")
            changed.append(page)
    return changed


def _settings_problems(project: Project, glossary: Glossary) -> Iterator[Problem]:
    """Names in ``glossary.yaml`` that no term has."""
    named = {f"path {name}": path.terms for name, path in glossary.settings.paths.items()}
    named["flagships"] = glossary.settings.flagships
    for place, slugs in named.items():
        for slug in slugs:
            if slug not in glossary.terms:
                yield Problem(
                    "docs/glossary.yaml", 1, f"{place}: there is no term `{slug}`. Write its page or drop it."
                )


def _term_problems(page: Path, project: Project, glossary: Glossary) -> Iterator[Problem]:
    name, term = _name(page, project), glossary.terms[page.stem]
    yield from _relation_problems(page, name, term, glossary)
    if term.level not in glossary.settings.levels:
        levels = ", ".join(glossary.settings.levels)
        yield Problem(name, line_of(page, "level"), f"there is no level `{term.level}`. The levels are: {levels}.")
    if term.description and term.description != term.summary:
        yield Problem(name, line_of(page, "description"), "`description` differs from `summary`. Make them the same.")
    if term.demo and not (project.demos / term.demo / "app.py").exists():
        yield Problem(name, line_of(page, "demo"), f"there is no demos/{term.demo}/app.py. Name a demo that exists.")
    for run in term.runs:
        if run not in find_experiments(project.experiments):
            yield Problem(name, line_of(page, "runs"), f"there is no experiment `{run}`. Name one that exists.")
        elif find_experiments(project.experiments)[run].record() is None:
            yield Problem(name, line_of(page, "runs"), f"`{run}` was not recorded. Run `ftdemo record {run}`.")
    yield from _anatomy_problems(page, name, glossary)
    yield from _source_problems(page, name, term, project)


def _relation_problems(page: Path, name: str, term: Term, glossary: Glossary) -> Iterator[Problem]:
    for relation in (*RELATIONS, "prerequisites"):
        line = line_of(page, relation)
        for other in term.related_by(relation):
            if other == term.slug:
                yield Problem(name, line, f"`{relation}` names the term itself. Drop it.")
            elif other not in glossary.terms:
                yield Problem(name, line, f"`{relation}`: there is no term `{other}`. Write its page or drop it.")
            elif relation in RELATIONS and term.slug not in glossary.terms[other].related_by(RELATIONS[relation]):
                back = RELATIONS[relation]
                what = f"`{relation}` names {other}, whose `{back}` does not name {term.slug}. Add it there."
                yield Problem(name, line, what)
    if _needs_itself(term.slug, glossary):
        yield Problem(name, line_of(page, "prerequisites"), "the term is a prerequisite of itself. Break the circle.")
    if len(glossary.terms) > 1 and not glossary.backlinks[term.slug]:
        yield Problem(name, 1, "no other term points here. Relate it to one.")


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


def _anatomy_problems(page: Path, name: str, glossary: Glossary) -> Iterator[Problem]:
    """Parts that are missing, or that stand in another order."""
    content, _ = body(page.read_text(encoding="utf-8"))
    headings = _HEADING.findall(_FENCED.sub("", content))
    at = -1
    for part in glossary.anatomy(page.stem):
        if part == "Sources" and not glossary.terms[page.stem].sources:
            continue
        options = [option.strip() for option in part.split("|")]
        places = [headings.index(option) for option in options if option in headings]
        if not places:
            yield Problem(name, 1, f"there is no part `## {' or '.join(options)}`. Write it.")
        elif max(places) < at:
            yield Problem(name, 1, f"`## {options[0]}` stands too early. Follow the order of docs/glossary.yaml.")
        at = max([at, *places])


def _source_problems(page: Path, name: str, term: Term, project: Project) -> Iterator[Problem]:
    text = page.read_text(encoding="utf-8")
    bibliography, named, line = load_bibliography(project.references), set(term.sources), line_of(page, "sources")
    cited = {match[1]: text.count("\n", 0, match.start()) + 1 for match in reversed(list(CITED.finditer(text)))}
    for key in sorted(named - set(bibliography)):
        yield Problem(name, line, f"source {key} is not in references.bib. Add it.")
    for key in sorted(set(cited) - named):
        yield Problem(name, cited[key], f"{key} is cited, but not under `sources`. Add it.")
    for key in sorted(named - set(cited)):
        yield Problem(name, line, f"source {key} is never cited. Cite it or drop it.")


def _unused_sources(project: Project, glossary: Glossary) -> Iterator[Problem]:
    used = {key for term in glossary.terms.values() for key in term.sources}
    for key in sorted(set(load_bibliography(project.references)) - used):
        yield Problem("docs/references.bib", 1, f"{key} is used by no page. Cite it or drop it.")


def _page_problems(page: Path, project: Project, records: Records, linker: Linker) -> Iterator[Problem]:
    name, text = _name(page, project), page.read_text(encoding="utf-8")
    for number, line in enumerate(text.split("\n"), 1):
        if _TODO.search(line):
            yield Problem(name, number, "a TODO is left. Write what belongs there.")
        yield from _number_problems(name, number, line, records)
    for quoted in QUOTED.findall(text):
        if untested(project.package, quoted, project.root / "tests"):
            yield Problem(name, 1, f"no test imports the module of {quoted}. Quote code that is tested.")
    if _is_linked(page, project):
        for mention in linker.mentions(text, _own(page, project)):
            said = text[mention.start : mention.end]
            what = f"the first mention of {mention.slug} (`{said}`) is no link. Run `ftdemo site fill`."
            yield Problem(name, mention.line, what)


def _number_problems(name: str, number: int, line: str, records: Records) -> Iterator[Problem]:
    if len(re.findall(r"<data\b", line)) != len(NUMBER.findall(line)):
        yield Problem(name, number, 'a <data> tag is broken. Write <data value="key">number</data> on one line.')
    try:
        differs = rewrite(line, records) != line
    except DataError as error:
        yield Problem(name, number, f"{error.what} {error.remedy}")
        return
    if differs:
        yield Problem(name, number, "a number differs from its record. Run `ftdemo site fill`.")


def _code_problems(page: Path, project: Project) -> Iterator[Problem]:
    for block in python_blocks(page.read_text(encoding="utf-8")):
        problem = "" if block.excuse else run_block(block, project.root)
        if problem:
            yield Problem(_name(page, project), block.line, problem)


def _is_linked(page: Path, project: Project) -> bool:
    """Whether first mentions on a page become links: on terms' pages and guides, not on generated reference pages."""
    folder = page.relative_to(project.docs).parts[0]
    return folder in ("terms", "guides") and page.stem != "index"


def _own(page: Path, project: Project) -> str:
    return page.stem if page.parent == project.docs / "terms" else ""


def _way_to_terms(page: Path, project: Project) -> str:
    return "{}.md" if page.parent == project.docs / "terms" else "../terms/{}.md"


def _name(page: Path, project: Project) -> str:
    return page.relative_to(project.root).as_posix()
