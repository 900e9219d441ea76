"""What a demo gives a visitor at most, where strangers may use it: on a Space, or with ``--public``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftdemo.errors import FtdemoError
from ftdemo.recipe import Recipe

if TYPE_CHECKING:
    import gradio as gr

MAX_MESSAGE = 2_000
"""Characters of a message to a model."""
PUBLIC = "FTDEMO_PUBLIC"
"""Set in the environment, it says that strangers may come; Hugging Face sets ``SPACE_ID`` on a Space."""


@dataclass(frozen=True)
class Limits:
    """The most that one run may take."""

    rows: int
    """Of a visitor's own file."""
    own_bytes: int
    """Of that file, or of a text that is pasted."""
    steps: int
    seconds: float
    """Of training: then it is stopped, and what was trained is kept."""


AT_HOME = Limits(rows=100_000, own_bytes=20_000_000, steps=20_000, seconds=24 * 3600)
"""On one's own machine: enough for all that a page like this is good for. The shell has no such limits."""
IN_PUBLIC = Limits(rows=2_000, own_bytes=1_000_000, steps=400, seconds=300)


def is_public() -> bool:
    """Whether strangers may use this demo."""
    return bool(os.environ.get("SPACE_ID") or os.environ.get(PUBLIC))


def current_limits() -> Limits:
    """The limits that hold here."""
    return IN_PUBLIC if is_public() else AT_HOME


def bounded(recipe: Recipe) -> Recipe:
    """The recipe with no more steps than are given here.

    Raises:
        FtdemoError: If a visitor asks for more examples than that.
    """
    limit = current_limits()
    if recipe.examples and recipe.examples > limit.rows:
        what = f"`examples` is {recipe.examples:,}, but this demo trains on at most {limit.rows:,}."
        raise FtdemoError(what, "Choose fewer examples, or run the demo on your own machine.")
    if recipe.max_steps and recipe.max_steps <= limit.steps:
        return recipe
    return recipe.with_settings({"max_steps": limit.steps}) if is_public() else recipe


def refuse_long(message: str) -> None:
    """Refuse a message that no model here could read.

    Raises:
        gradio.Error: If it is too long.
    """
    if len(message) > MAX_MESSAGE:
        import gradio

        raise gradio.Error(
            f"The message has {len(message):,} characters. Write at most {MAX_MESSAGE:,}.", print_exception=False
        )


def client_address(request: gr.Request | None) -> str:
    """Where a visitor comes from. On a Space that is what the proxy says it is."""
    if request is None:
        return ""
    if os.environ.get("SPACE_ID"):
        forwarded = str(request.headers.get("x-forwarded-for", ""))
        return forwarded.rpartition(",")[2].strip()
    return str(getattr(request.client, "host", ""))
