"""A page on which a person says which of two answers is better, without knowing whose they are."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from ftdemo.comparison import ab_test
from ftdemo.ui import panels
from ftdemo.ui.lab import FOLLOWS, open_page

_INTRO = """
# Which answer is better?

Two models answered the same prompt. Chance decided which stands on the left. Judge by what you would want to get, and
say *even* when you would not mind either.
"""
_CHOICES = (("The left one", "a"), ("Even", "even"), ("The right one", "b"))


def build(folder: Path) -> gr.Blocks:
    """The page, ready to be served.

    Args:
        folder: That of the test, with its pairs.

    Raises:
        UsageError: If there are no pairs.
    """
    pairs = ab_test.read_pairs(folder)

    def show() -> tuple[Any, ...]:
        judged = ab_test.read_judgements(folder)
        left = [pair for pair in pairs if pair["number"] not in judged]
        told = f"{len(judged)} of {len(pairs)} pairs are judged."
        if not left:
            buttons = [gr.update(interactive=False)] * len(_CHOICES)
            return (panels.status(f"{told} Go on with: ftdemo workflow"), "", -1, *buttons)
        buttons = [gr.update(interactive=True)] * len(_CHOICES)
        return (panels.status(told), _pair(left[0]), left[0]["number"], *buttons)

    def judge(better: str, number: int) -> tuple[Any, ...]:
        if number >= 0 and number not in ab_test.read_judgements(folder):
            ab_test.record_judgement(folder, number, better)
        return show()

    with open_page("Which answer is better?") as page:
        gr.Markdown(_INTRO, elem_classes="ft-lead")
        status, pair, number = gr.HTML(elem_id="status"), gr.HTML(elem_id="pair"), gr.State(-1)
        with gr.Row():
            buttons = [gr.Button(text, elem_id=f"better-{name}") for text, name in _CHOICES]
        shown = [status, pair, number, *buttons]
        told: dict[str, Any] = {**FOLLOWS, "api_visibility": "private"}
        page.load(show, None, shown, **told)
        for button, (_text, name) in zip(buttons, _CHOICES, strict=True):
            button.click(judge, [gr.State(name), number], shown, **told)
    return page


def _pair(pair: dict[str, Any]) -> str:
    sides = "".join(
        f'<div><h3>{title}</h3><p class="ft-said">{escape(pair[key].strip()) or "(nothing)"}</p></div>'
        for title, key in (("Left", "a"), ("Right", "b"))
    )
    asked = f'<p class="ft-letter">“{escape(pair["prompt"])}”</p>'
    return f'<div class="ft-answers"><article>{asked}<div class="ft-pair">{sides}</div></article></div>'
