"""The glossary's pages and the demos on this machine: `ftdemo site`, `new-term`, `serve` and `demo`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click

from ftdemo.cli.terminal import UserPath
from ftdemo.errors import UsageError

HOST, PORT = "127.0.0.1", 7860


@click.group("site")
def site_command() -> None:
    """Check, fill, build and serve the glossary."""


@site_command.command("check")
@click.option("--code/--no-code", default=True, show_default=True, help="Run the Python blocks of the pages, too.")
def site_check_command(code: bool) -> None:
    """Check front matter, relations, numbers, links and code."""
    from ftdemo.site.check import check_site
    from ftdemo.site.project import Project

    problems = check_site(Project(Path.cwd()), code=code)
    click.echo("\n".join(problems), nl=bool(problems))
    sys.exit(1 if problems else 0)


@site_command.command("fill")
def site_fill_command() -> None:
    """Write recorded numbers and missing links into the pages.

    A term is linked at its first mention on a page.
    """
    from ftdemo.site.check import fill
    from ftdemo.site.project import Project

    for page in fill(Project(Path.cwd())):
        click.echo(page)


@site_command.command("derive")
def site_derive_command() -> None:
    """Write the generated fragments for other site generators."""
    from ftdemo.site.derive import derive
    from ftdemo.site.project import Project

    derive(Project(Path.cwd()))


@site_command.command("lessons")
@click.argument("names", nargs=-1)
def site_lessons_command(names: tuple[str, ...]) -> None:
    """Train all lessons of the pages, or those named.

    ftdemo writes the files that a page needs to repeat the training in the browser.
    """
    from ftdemo.site.lessons import find_lessons, write_lesson
    from ftdemo.site.project import Project

    lessons = {path.stem: path for path in find_lessons(Project(Path.cwd()).docs)}
    for name in names or lessons:
        if name not in lessons:
            raise UsageError(f"There is no lesson {name}.", f"The lessons are: {', '.join(lessons)}.")
        click.echo(f"{name}: {write_lesson(lessons[name])}")


@site_command.command("build")
@click.option(
    "--with",
    "tool",
    type=click.Choice(["mkdocs", "zensical"]),
    default="mkdocs",
    show_default=True,
    help="Site generator.",
)
def site_build_command(tool: str) -> None:
    """Check the pages and build the site in the folder `site`."""
    from ftdemo.site.check import check_site
    from ftdemo.site.derive import derive
    from ftdemo.site.project import Project

    if tool == "mkdocs":  # its hook checks and derives
        sys.exit(_run("mkdocs", "build", "--strict", "--quiet"))
    project = Project(Path.cwd())
    if problems := check_site(project):
        raise UsageError("\n".join(problems), "Fix these problems, then build again.")
    derive(project)
    sys.exit(_run("zensical", "build", "--clean"))


@site_command.command("serve")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="Port to listen on.")
def site_serve_command(port: int) -> None:
    """Serve the site locally and reload it when a page changes."""
    from ftdemo.serving.server import free_port

    sys.exit(_run("mkdocs", "serve", "--livereload", "--dev-addr", f"{HOST}:{free_port(HOST, port)}"))


@click.command("new-term")
@click.argument("name")
@click.option("--flagship", is_flag=True, help="Create a long page with all parts.")
def new_term_command(name: str, flagship: bool) -> None:
    """Create the page of a new term.

    `ftdemo site check` fails until its TODOs are filled in.
    """
    from ftdemo.site.project import Project
    from ftdemo.site.term_page import create_term_page

    page = create_term_page(Project(Path.cwd()).docs, name, flagship=flagship)
    click.echo(f"{page}: fill in its TODOs, name a related term on both pages, then run `ftdemo site fill`.")


def _run(tool: str, *arguments: str) -> int:
    """Run a tool of this Python's environment."""
    path = Path(sys.executable).with_name(tool)
    command = [str(path)] if path.exists() else [sys.executable, "-m", tool]
    environment = {"NO_MKDOCS_2_WARNING": "1", **os.environ}
    return subprocess.run([*command, *arguments], env=environment, check=False).returncode


@click.command("serve")
@click.option("--site", type=UserPath(), default="site", show_default=True, help="Folder of the built site.")
@click.option("--host", default=HOST, show_default=True, help="Address to listen on.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option("--public", is_flag=True, help="Limit each run, for visitors. Implied by any other host.")
def serve_command(site: Path, host: str, port: int, public: bool) -> None:
    """Serve the site and all demos at one address."""
    from ftdemo.serving import server

    server.serve(lambda: server.site_app(site), host, port, public=public)


@click.command("demo")
@click.argument("name")
@click.option("--host", default=HOST, show_default=True, help="Address to listen on.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on.")
@click.option("--public", is_flag=True, help="Limit each run, for visitors. Implied by any other host.")
def demo_command(name: str, host: str, port: int, public: bool) -> None:
    """Run a demo on this machine; `studio` contains all of them."""
    from ftdemo.serving import server

    server.serve(lambda: server.demo_app(name), host, port, public=public)
