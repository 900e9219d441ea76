"""The parts that all demos share: looks, session, panels. A demo's own idea lives in its `demos/<slug>/app.py`."""

SITE = "FTDEMO_SITE_URL"
"""In the environment: where the site begins. Demos link to their pages there."""
