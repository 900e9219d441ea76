"""The mkdocs hook: derives what pages include before each build, and fails the build if a page has a problem."""

from __future__ import annotations

import datetime as dt
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

from ftdemo import __version__
from ftdemo.errors import FtdemoError
from ftdemo.site.check import check_site
from ftdemo.site.claim_tags import show_claims
from ftdemo.site.derive import derive
from ftdemo.site.plugins import Plugin, load_plugins
from ftdemo.site.project import Project

_CHECKBOX = re.compile(r'(type="checkbox" id="__\w+") autocomplete="off"')
_CONTENT = '<div class="md-content"'
"""Where the theme's own part of a page ends, in which space has no meaning."""
_SPACE = re.compile(r"\s*\n\s*")
_FILES = {
    "<ft-player": re.compile(r'<script src="[^"]*/player\.js"[^>]*></script>'),
    'class="doc ': re.compile(r'<link rel="stylesheet" href="[^"]*/_mkdocstrings\.css">'),
}
"""Files that all pages would load, by what only those pages contain that need them."""


def on_config(config: Any) -> Any:
    """Add to the footer which version of the package built the site, and when."""
    built = f"{__version__}, built {dt.datetime.now(dt.UTC).date().isoformat()}"
    config.copyright = " · ".join(filter(None, [config.copyright, built]))
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let the search find a term by all of its names, and mark statements about results with their verdicts.

    The search weighs tags most, and no page shows them. A term comes before other pages, and a broad term before the
    narrower ones, whose names often contain its own.
    """
    if "term" in page.meta:
        names = (page.meta["term"], page.meta.get("full_name"), *page.meta.get("aliases", ()))
        page.meta["tags"] = [name for name in names if name]
        page.meta["search"] = {"boost": 2 + 0.2 * len(page.meta.get("narrower", ()))}
    to_docs = "../" * page.file.src_uri.count("/")
    return show_claims(markdown, _plugins(Path(config.config_file_path).parent), to_docs)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Remove what a page does not need: attributes that are not valid HTML, spaces before its content, unused files."""
    around, start, content = _CHECKBOX.sub(r"\1", output.replace(' tabindex=""', "")).partition(_CONTENT)
    around = _SPACE.sub("\n", around)
    for mark, file in _FILES.items():
        if mark not in content:
            around, content = file.sub("", around), file.sub("", content)
    return around + start + content


@lru_cache(maxsize=1)
def _plugins(root: Path) -> list[Plugin]:
    return load_plugins(Project(root))


def on_pre_build(config: Any) -> None:
    """Check the pages and write what they include."""
    project = Project(Path(config.config_file_path).parent)
    _plugins.cache_clear()  # a server builds again and again
    try:
        problems = check_site(project)
        derive(project)
    except FtdemoError as error:
        raise PluginError(f"{error.what} {error.remedy}") from None
    if problems:
        raise PluginError("\n".join(problems))
