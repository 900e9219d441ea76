"""What a site adds to its glossary: files, numbers and runs that the generator itself knows nothing about.

A site names its plug-ins in ``mkdocs.yml``, each as ``module:Class``::

    extra:
      plugins:
        - ftdemo.site.experiment_pages:ExperimentPages
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

from ftdemo.errors import DataError
from ftdemo.site.project import Project


class RecordedVerdict(NamedTuple):
    """The verdict on a claim, and the page that shows the evidence."""

    word: str
    page: str
    """The address of the page, seen from ``docs``: ``experiments/rank.md``, say."""


class Plugin:
    """A part of a site. Every hook adds nothing, unless a subclass overrides it.

    Args:
        project: The glossary that it is a part of.
    """

    def __init__(self, project: Project) -> None:
        self.project = project

    def files(self) -> Iterator[tuple[Path, str | bytes]]:
        """Files that pages include or load, and their content."""
        yield from ()

    def number(self, key: str) -> float | None:
        """The value of ``<data value="key">`` on a page; None if this plug-in does not have it."""
        return None

    def verdict(self, key: str) -> RecordedVerdict | None:
        """The verdict on the claim ``<claim id="key">`` of a page; None if this plug-in does not have it."""
        return None

    def runs(self) -> Mapping[str, str]:
        """Names that a page may list under `runs`, with the day on which each last ran; empty if it never did."""
        return {}


def load_plugins(project: Project) -> list[Plugin]:
    """The plug-ins of a site, in the order in which it names them.

    Raises:
        DataError: If there is no such module or class.
    """
    return [_load(name, project) for name in project.plugins]


def _load(name: str, project: Project) -> Plugin:
    try:
        found: type[Plugin] = resolve_name(name)
    except (AttributeError, ImportError, ValueError) as error:
        what = f"mkdocs.yml: there is no plug-in `{name}`: {error}."
        raise DataError(what, "Name an installed one under `extra: plugins:`, as `module:Class`.") from None
    return found(project)


def last_runs(plugins: Sequence[Plugin]) -> dict[str, str]:
    """All names that pages may list under `runs`, with the day on which each last ran; empty if it never did."""
    return {name: day for plugin in plugins for name, day in plugin.runs().items()}
