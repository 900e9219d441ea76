"""A demo's controls keep their values when the page is reloaded. The visitor's own browser stores them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import gradio as gr

_NOT_KEPT = (gr.File, gr.Textbox, gr.State)
"""A visitor's own examples, which the visitor gives again, and what the visitor cannot set."""


def keep_values(blocks: gr.Blocks, slug: str, controls: Sequence[Any]) -> None:
    """Store the controls' values as long as the tab is open, and restore them when the page is reloaded.

    Args:
        blocks: The page.
        slug: The demo's name.
        controls: Its controls.
    """
    kept = [each for each in controls if not isinstance(each, _NOT_KEPT)]
    name = json.dumps(f"ftdemo-{slug}-controls")
    at_first = json.dumps([each.value for each in kept])
    blocks.load(None, None, kept, js=f"() => JSON.parse(sessionStorage.getItem({name})) ?? {at_first}")
    write = f"(...values) => {{ sessionStorage.setItem({name}, JSON.stringify(values)) }}"
    gr.on([each.change for each in kept], None, kept, None, js=write)
