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


def on_config(config: Any) -> Any:
    """Add to the footer which version of the package built the site, and when."""
    built = f"{__version__}, built {dt.datetime.now(dt.UTC).date().isoformat()}"
    config.copyright = " · ".join(filter(None, [config.copyright, built]))
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Let the search find a term by all of its names, and mark statements about results with their verdicts.

    The search weighs tags most, and no page shows them.
    """
    if "term" in page.meta:
        names = (page.meta["term"], page.meta.get("full_name"), *page.meta.get("aliases", ()))
        page.meta["tags"] = [name for name in names if name]
    to_docs = "../" * page.file.src_uri.count("/")
    return show_claims(markdown, _plugins(Path(config.config_file_path).parent), to_docs)


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Remove two attributes of the theme that are not valid HTML."""
    return _CHECKBOX.sub(r"\1", output.replace(' tabindex=""', ""))


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
