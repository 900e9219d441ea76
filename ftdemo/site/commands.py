"""The shell's commands around a glossary's pages. All are run in the glossary's own folder."""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
import sys
from pathlib import Path

import click

from ftdemo.errors import UsageError


@click.group()
def site() -> None:
    """Check, fill, build and serve the glossary."""


@site.command("check")
@click.option("--code/--no-code", default=True, show_default=True, help="Run the Python blocks of pages, too.")
def check_site(code: bool) -> None:
    """Report what in the pages does not hold: heads, relations, numbers, citations, links, code."""
    from ftdemo.site.check import check_site
    from ftdemo.site.project import Project

    problems = check_site(Project(Path.cwd()), code=code)
    click.echo("\n".join(problems), nl=bool(problems))
    sys.exit(1 if problems else 0)


@site.command("fill")
def fill_site() -> None:
    """Write into the pages what follows from elsewhere: recorded numbers, links at the first mention of a term."""
    from ftdemo.site.check import fill
    from ftdemo.site.project import Project

    for page in fill(Project(Path.cwd())):
        click.echo(page)


@site.command("derive")
def derive_site() -> None:
    """Write what pages include, for a site generator that does not call our hook."""
    from ftdemo.site.derive import derive
    from ftdemo.site.project import Project

    derive(Project(Path.cwd()))


@site.command("lessons")
@click.argument("names", nargs=-1)
def write_lessons(names: tuple[str, ...]) -> None:
    """Train the lessons that pages train in the browser, all or those named, and write what the pages need for it."""
    from ftdemo.site.lessons import find_lessons, write_lesson
    from ftdemo.site.project import Project

    lessons = {path.stem: path for path in find_lessons(Project(Path.cwd()).docs)}
    for name in names or lessons:
        if name not in lessons:
            raise UsageError(f"There is no lesson {name}.", f"The lessons are: {', '.join(lessons)}.")
        click.echo(f"{name}: {write_lesson(lessons[name])}")


@site.command("build")
@click.option("--with", "tool", type=click.Choice(["mkdocs", "zensical"]), default="mkdocs", show_default=True)
def build_site(tool: str) -> None:
    """Check the pages and build the site into the folder `site`."""
    from ftdemo.site.check import check_site
    from ftdemo.site.derive import derive
    from ftdemo.site.project import Project

    if tool == "mkdocs":  # its hook checks and derives
        sys.exit(_run("mkdocs", "build", "--strict", "--quiet"))
    project = Project(Path.cwd())
    if problems := check_site(project):
        raise UsageError("\n".join(problems), "Mend them, then build.")
    derive(project)
    sys.exit(_run("zensical", "build", "--clean"))


@site.command("serve")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Port.")
def serve_site(port: int) -> None:
    """Show the site at http://127.0.0.1:PORT, and again whenever a page is saved."""
    sys.exit(_run("mkdocs", "serve", "--livereload", "--dev-addr", f"127.0.0.1:{port}"))


@click.command("new-term")
@click.argument("name")
@click.option("--flagship", is_flag=True, help="A page with all parts.")
def new_term(name: str, flagship: bool) -> None:
    """Begin the page of a term called NAME. `ftdemo site check` fails until its TODOs are filled."""
    from ftdemo.site.glossary import load_settings
    from ftdemo.site.project import Project

    docs = Project(Path.cwd()).docs
    settings = load_settings(docs)
    slug = re.sub(r"[^a-z0-9]+", "-", name.casefold()).strip("-")
    page = docs / "terms" / f"{slug}.md"
    if not slug:
        raise UsageError(f"`{name}` has no letter from a to z.", "Give a name that can stand in an address.")
    if page.exists():
        raise UsageError(f"{page} exists.", "Edit it, or give another name.")
    parts = settings.anatomy.get("flagship" if flagship else "entry", ())
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(_page(name, slug, next(iter(settings.levels), ""), parts), encoding="utf-8")
    click.echo(f"{page}: fill in its TODOs, name a related term on both pages, then `ftdemo site fill`.")


def _page(name: str, slug: str, level: str, parts: tuple[str, ...]) -> str:
    included = {"Related terms": f'--8<-- "related/{slug}.md"', "Sources": f'--8<-- "sources/{slug}.md"'}
    bodies = ""
    for part in parts:
        title = part.split("|")[0].strip()
        bodies += f"## {title}\n\n{included.get(title, 'TODO')}\n\n"
    said = name.replace('"', "'")
    return (
        f'---\ntitle: "{said}"\ndescription: "TODO: one sentence, the same as the summary."\nterm: "{said}"\n'
        f'full_name: ""\naliases: []\nsummary: "TODO: one sentence, the same as the description."\nlevel: {level}\n'
        f"prerequisites: []\nbroader: []\nnarrower: []\ncontrast: []\nrelated: []\nsources: []\n"
        f'reviewed: {dt.date.today().isoformat()}\n---\n\n# {said}\n\n--8<-- "head/{slug}.md"\n\n{bodies.rstrip()}\n'
    )


def _run(tool: str, *arguments: str) -> int:
    """Run a tool of the environment that we run in."""
    path = Path(sys.executable).with_name(tool)
    command = [str(path)] if path.exists() else [sys.executable, "-m", tool]
    environment = {"NO_MKDOCS_2_WARNING": "1", **os.environ}
    return subprocess.run([*command, *arguments], env=environment, check=False).returncode
