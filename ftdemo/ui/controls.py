"""What a visitor has set on a demo's page is still set after a reload. It is kept in the visitor's own browser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

_NOT_KEPT = (gr.File, gr.Textbox, gr.State)
"""A visitor's own examples, which are asked for anew, and what is no choice."""


def keep(demo: gr.Blocks, slug: str, controls: Sequence[Any]) -> None:
    """Keep what is set as long as the tab is open, and set it again when the page is loaded anew.

    Args:
        demo: The page.
        slug: The demo's name.
        controls: Its controls.
    """
    kept = [each for each in controls if not isinstance(each, _NOT_KEPT)]
    name = json.dumps(f"ftdemo-{slug}-controls")
    at_first = json.dumps([each.value for each in kept])
    demo.load(None, None, kept, js=f"() => JSON.parse(sessionStorage.getItem({name})) ?? {at_first}")
    write = f"(...values) => {{ sessionStorage.setItem({name}, JSON.stringify(values)) }}"
    gr.on([each.change for each in kept], None, kept, None, js=write)
