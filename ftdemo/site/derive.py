"""Writes what pages include: code by name, sources, links to demos, panels of recorded runs, the charts' style."""

from __future__ import annotations

import ast
import os
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import yaml

from ftdemo import charts
from ftdemo.errors import DataError
from ftdemo.experiment import find_experiments
from ftdemo.site.measured import NUMBER, Records, load_records, overview, panels, rewrite

DEMOS_URL = "https://huggingface.co/spaces/ftdemo/{name}"
"""Where the published site's demos run. The variable FTDEMO_DEMOS_URL names another place."""
_CODE_INCLUDE = re.compile(r'--8<-- "code/([\w.]+)\.md"')
_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


@dataclass(frozen=True)
class Project:
    """Where the parts of a glossary lie."""

    root: Path

    @property
    def docs(self) -> Path:
        """The pages."""
        return self.root / "docs"

    @property
    def experiments(self) -> Path:
        """What was measured for the pages."""
        return self.docs / "experiments"

    @property
    def derived(self) -> Path:
        """What is derived for the pages to include; not kept under version control."""
        return self.root / "build" / "derived"

    @property
    def package(self) -> Path:
        """The code that pages quote by name."""
        return self.root / "ftdemo"

    def pages(self) -> list[Path]:
        """All pages."""
        return sorted(self.docs.rglob("*.md"))

    def terms(self) -> dict[Path, dict[str, Any]]:
        """The front matter of each term page."""
        return {path: front_matter(path) for path in sorted((self.docs / "terms").glob("*.md"))}


def derive(project: Project) -> None:
    """Write everything that pages include. A file whose text is unchanged is left alone.

    Raises:
        DataError: If a page asks for code, a source or a number that is not there.
    """
    experiments, records = find_experiments(project.experiments), load_records(project.experiments)
    for name, record in records.items():
        for file, text in panels(experiments[name], record).items():
            _write(project.derived / "runs" / name / file, text)
    _write(project.derived / "runs" / "overview.md", overview(experiments, records))
    for page in project.pages():
        for name in _CODE_INCLUDE.findall(page.read_text(encoding="utf-8")):
            _write(project.derived / "code" / f"{name}.md", code_block(project.package, name))
    bibliography = load_bibliography(project.docs / "references.bib")
    for path, term in project.terms().items():
        _write(project.derived / "sources" / path.name, _source_list(term.get("sources", []), bibliography, path))
        if term.get("demo"):
            _write(project.derived / "demos" / f"{term['demo']}.md", _demo_link(term["demo"]))
    _write(project.docs / "assets" / "derived" / "charts.css", charts.CSS.lstrip())


def check(project: Project) -> list[str]:
    """Problems in the pages, as ``file:line: what is wrong and how to mend it``."""
    records = load_records(project.experiments)
    problems = [problem for page in project.pages() for problem in _number_problems(page, records, project.root)]
    return problems + list(_citation_problems(project))


def fill(project: Project) -> list[Path]:
    """Write the recorded numbers into the pages; gives the pages that changed.

    Raises:
        DataError: If a page names a number that is not recorded.
    """
    records, changed = load_records(project.experiments), []
    for page in project.pages():
        text = page.read_text(encoding="utf-8")
        filled = rewrite(text, records)
        if filled != text:
            page.write_text(filled, encoding="utf-8")
            changed.append(page)
    return changed


def _number_problems(page: Path, records: Records, root: Path) -> Iterator[str]:
    for number, line in enumerate(page.read_text(encoding="utf-8").split("\n"), 1):
        where = f"{page.relative_to(root)}:{number}"
        if len(re.findall(r"<data\b", line)) != len(NUMBER.findall(line)):
            yield f'{where}: a <data> tag is broken. Write <data value="key">number</data> on one line.'
        try:
            differs = rewrite(line, records) != line
        except DataError as error:
            yield f"{where}: {error.what} {error.remedy}"
            continue
        if differs:
            yield f"{where}: a number differs from its record. Run `ftdemo site fill`."


def front_matter(page: Path) -> dict[str, Any]:
    """The YAML head of a page; empty where there is none."""
    match = _FRONT_MATTER.match(page.read_text(encoding="utf-8"))
    return yaml.safe_load(match[1]) if match else {}


def code_block(package: Path, name: str) -> str:
    """A function or class of the package as a fenced block without its docstring, found by ``module.function``.

    Raises:
        DataError: If there is no such function.
    """
    module, _, function = name.rpartition(".")
    file = package / f"{module.replace('.', '/')}.py"
    source = file.read_text(encoding="utf-8") if module and file.is_file() else ""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == function:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            lines = source.splitlines()[first - 1 : node.end_lineno]
            if isinstance(node.body[0], ast.Expr) and ast.get_docstring(node):  # the page itself says what it says
                start, end = node.body[0].lineno - first, (node.body[0].end_lineno or first) - first
                del lines[start : end + (1 if lines[end + 1].strip() else 2)]
            title = f"ftdemo/{module.replace('.', '/')}.py"
            return f'```python title="{title}"\n{textwrap.dedent(chr(10).join(lines))}\n```\n'
    raise DataError(f"No function {function} in {package.name}/{module}.py.", "Name it as `module.function`.")


def load_bibliography(path: Path) -> dict[str, dict[str, str]]:
    """The entries of a BibTeX file, by key."""
    import bibtexparser

    return {entry["ID"]: entry for entry in bibtexparser.loads(path.read_text(encoding="utf-8")).entries}


def _citation_problems(project: Project) -> Iterator[str]:
    bibliography = load_bibliography(project.docs / "references.bib")
    used: set[str] = set()
    for path, term in project.terms().items():
        name, sources = path.relative_to(project.root), set(term.get("sources", []))
        cited = set(re.findall(r"\]\(#([a-z]+\d{4}\w*)\)", path.read_text(encoding="utf-8")))
        used |= sources
        yield from (
            f"{name}:1: source {key} is not in references.bib. Add it." for key in sorted(sources - set(bibliography))
        )
        yield from (f"{name}:1: {key} is cited, but not under `sources`. Add it." for key in sorted(cited - sources))
        yield from (f"{name}:1: source {key} is never cited. Cite it or drop it." for key in sorted(sources - cited))
    for key in sorted(set(bibliography) - used):
        yield f"docs/references.bib:1: {key} is used by no page. Cite it or drop it."


def _source_list(keys: list[str], bibliography: dict[str, dict[str, str]], page: Path) -> str:
    missing = [key for key in keys if key not in bibliography]
    if missing:
        raise DataError(f"{page}: sources {', '.join(missing)} are not in references.bib.", "Add them there.")
    items = "".join(f'<li id="{escape(key)}">{_reference(bibliography[key])}</li>\n' for key in keys)
    return f'<ul class="ft-sources">\n{items}</ul>\n'


def _reference(entry: dict[str, str]) -> str:
    """One entry as a line: authors, year, title, place, link."""
    plain = {key: re.sub(r"[{}]", "", value).replace(" -- ", " – ") for key, value in entry.items()}
    authors = [_natural(name) for name in plain["author"].replace("\n", " ").split(" and ")]
    named = "and others" if "others" in authors[-1:] else ""
    people = [name for name in authors if name != "others"]
    shown = ", ".join(people[:4]) + (" and others" if named or len(people) > 4 else "")
    place = plain.get("booktitle") or plain.get("journal") or plain.get("howpublished") or "arXiv"
    link = ""
    if "eprint" in plain:
        link = f' <a href="https://arxiv.org/abs/{escape(plain["eprint"])}">arXiv:{escape(plain["eprint"])}</a>'
    return f"{escape(shown)} ({escape(plain['year'])}). <cite>{escape(plain['title'])}</cite>. {escape(place)}.{link}"


def _natural(name: str) -> str:
    last, comma, first = name.strip().partition(", ")
    return f"{first} {last}" if comma else last


def _demo_link(name: str) -> str:
    url = os.environ.get("FTDEMO_DEMOS_URL", DEMOS_URL).format(name=name)
    return f'<p><a class="md-button md-button--primary" href="{escape(url)}">Open the live demo</a></p>\n'


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
