"""What the guide adds to the configuration for comments."""

from __future__ import annotations

import re

import yaml
from shown import ROOT, source


def test_the_keys_are_those_that_the_theme_reads() -> None:
    template = (ROOT / "docs" / "overrides" / "partials" / "comments.html").read_text(encoding="utf-8")
    read = re.findall(r"config\.extra\.giscus\.(\w+)", template)
    assert list(yaml.safe_load(source("publish-the-site/comments.yaml"))["extra"]["giscus"]) == read
