"""The glossary's generator, as a hook of mkdocs."""

from ftdemo.site.hook import on_config, on_page_markdown, on_post_page, on_pre_build

__all__ = ["on_config", "on_page_markdown", "on_post_page", "on_pre_build"]
