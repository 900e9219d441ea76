"""The parts that all demos share: looks, session, panels. A demo's own idea lives in its `demos/<slug>/app.py`."""
