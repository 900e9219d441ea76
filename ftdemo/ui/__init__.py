"""The parts that all demos share: looks, session, panels. A demo's own idea lives in its `demos/<slug>/app.py`."""

import os

SITE = "FTDEMO_SITE_URL"
"""In the environment: where the site begins. Demos link to their pages there."""
_PUBLISHED = "https://ftdemo.github.io/"


def page_at(path: str) -> str:
    """Where a page of the site is found from here: `terms/lora/`, say."""
    return f"{os.environ.get(SITE, _PUBLISHED).rstrip('/')}/{path}"
