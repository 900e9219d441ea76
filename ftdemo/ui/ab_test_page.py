"""A page on which a person chooses the better of two answers, without knowing which model wrote which."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from ftdemo.comparison import ab_test
from ftdemo.ui import panels
from ftdemo.ui.demo import FOLLOWS
from ftdemo.ui.layout import open_page

_INTRO = """
# Which answer is better?

Two models answered the same prompt. Their order is random. Choose the answer that you would rather receive, or call it
even if you have no preference.
"""
_CHOICES = (("Choose left", "a"), ("Call it even", "even"), ("Choose right", "b"))


def judging_page(folder: Path, command: str) -> gr.Blocks:
    """The page, ready to be served.

    Args:
        folder: The folder of the A/B test, with its pairs.
        command: What to run once all pairs are judged.

    Raises:
        UsageError: If there are no pairs.
    """
    pairs = ab_test.read_pairs(folder)

    def render() -> tuple[Any, ...]:
        """Progress, the next pair and its number, and the buttons."""
        judged = ab_test.read_judgements(folder)
        left = [pair for pair in pairs if pair["number"] not in judged]
        progress = f"{len(judged)} of {len(pairs)} pairs judged."
        if not left:
            buttons = [gr.update(interactive=False)] * len(_CHOICES)
            return (panels.status_line(f"{progress} Now run: {command}"), "", -1, *buttons)
        buttons = [gr.update(interactive=True)] * len(_CHOICES)
        return (panels.status_line(progress), _pair(left[0]), left[0]["number"], *buttons)

    def judge(better: str, number: int) -> tuple[Any, ...]:
        """Record which answer is better, and show the next pair."""
        if number >= 0 and number not in ab_test.read_judgements(folder):
            ab_test.record_judgement(folder, number, better)
        return render()

    with open_page("Which answer is better?") as page:
        gr.Markdown(_INTRO, elem_classes="ft-lead")
        status, pair, number = gr.HTML(elem_id="status"), gr.HTML(elem_id="pair"), gr.State(-1)
        with gr.Row():
            buttons = [gr.Button(text, elem_id=f"better-{name}") for text, name in _CHOICES]
        outputs = [status, pair, number, *buttons]
        hidden: dict[str, Any] = {**FOLLOWS, "api_visibility": "private"}
        page.load(render, None, outputs, **hidden)
        for button, (_text, name) in zip(buttons, _CHOICES, strict=True):
            button.click(judge, [gr.State(name), number], outputs, **hidden)
    return page


def _pair(pair: dict[str, Any]) -> str:
    answers = [(title, pair[key].strip() or "(empty answer)", "") for title, key in (("Left", "a"), ("Right", "b"))]
    return panels.answers_side_by_side(pair["prompt"], answers)
