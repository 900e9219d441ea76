"""Where the parts of a glossary are, and which plug-ins it has."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Project:
    """A glossary's folder."""

    root: Path

    @property
    def docs(self) -> Path:
        """The pages."""
        return self.root / "docs"

    @property
    def derived(self) -> Path:
        """What is derived for the pages to include; not kept under version control."""
        return self.root / "build" / "derived"

    @property
    def snippets(self) -> list[Path]:
        """The folders of files that pages include."""
        for extension in self.site.get("markdown_extensions") or ():
            if isinstance(extension, dict) and "pymdownx.snippets" in extension:
                return [self.root / folder for folder in extension["pymdownx.snippets"]["base_path"]]
        return [self.docs, self.derived]

    @property
    def package(self) -> Path:
        """The code that pages quote by name."""
        name: str = self._extra.get("package", "ftdemo")
        return self.root / name

    @property
    def plugins(self) -> list[str]:
        """What the site adds to its glossary, each as ``module:Class``."""
        return list(self._extra.get("plugins", ()))

    @property
    def demos(self) -> Path:
        """The demos that pages link to, one folder each."""
        return self.root / "demos"

    @property
    def references(self) -> Path:
        """The sources that pages cite."""
        return self.docs / "references.bib"

    def pages(self) -> list[Path]:
        """All pages."""
        return sorted(self.docs.rglob("*.md"))

    def terms(self) -> list[Path]:
        """The pages of terms, without the index beside them."""
        return sorted(path for path in (self.docs / "terms").glob("*.md") if path.stem != "index")

    @cached_property
    def site(self) -> dict[str, Any]:
        """The site's configuration, as far as it is plain data."""
        path = self.root / "mkdocs.yml"
        found: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), _Tolerant) if path.exists() else {}
        return found

    @property
    def _extra(self) -> dict[str, Any]:
        """The part of the configuration that mkdocs leaves to others."""
        return self.site.get("extra") or {}

    @property
    def url(self) -> str:
        """Where the published site begins, with a slash at its end."""
        found: str = os.environ.get("FTDEMO_SITE_URL") or self.site.get("site_url") or "/"
        return found.rstrip("/") + "/"

    def address(self, page: Path) -> str:
        """Where a page is published, below `url`."""
        name = page.relative_to(self.docs).with_suffix("").as_posix()
        return re.sub(r"(^|/)index$", r"\1", name) + ("" if name.endswith("index") else "/")


class _Tolerant(yaml.SafeLoader):
    """Reads over tags that name Python objects."""


_Tolerant.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)
_Tolerant.add_multi_constructor("!", lambda loader, suffix, node: None)
