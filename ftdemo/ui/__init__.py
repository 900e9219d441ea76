"""The parts that all demos share: layout, sessions, panels. A demo's own idea is in its `demos/<slug>/app.py`."""

import os

SITE = "FTDEMO_SITE_URL"
"""Environment variable with the address of the site. Demos link to their pages there."""
_PUBLISHED = "https://ftdemo.github.io/"


def page_at(path: str) -> str:
    """The address of a page of the site, such as `terms/lora/`."""
    return f"{os.environ.get(SITE, _PUBLISHED).rstrip('/')}/{path}"
