"""Fine-tuning, live: a generalist becomes a specialist, by built-in or own examples, and is asked what it forgot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import gradio as gr

from ftdemo.runs.run import Run
from ftdemo.ui import compute, theme
from ftdemo.ui.job_queue import StopFile
from ftdemo.ui.layout import Layout, open_page
from ftdemo.ui.run_view import RunView
from ftdemo.ui.training_demo import TrainingDemo
from ftdemo.ui.user_data import PAIRS_FILE, UserData, recipe_settings

TITLE = "Fine-tuning: make a specialist of a generalist, and see what it costs"
DEMO = TrainingDemo("fine-tuning")
_INTRO = """
# Fine-tuning, live

A model that can do many things a little is trained on **examples of one thing**. Two skills are watched: the new one,
and what it could do before. The small model of the house learns to tell the story it is asked for, SmolLM2 to write
letters like one shop's crew. Or bring examples of your own.
"""


def build() -> gr.Blocks:
    """The demo, ready to launch or to mount."""
    with open_page(TITLE) as blocks:
        layout = Layout(DEMO, _INTRO)
        with layout.controls():
            model = layout.choose_model()
            examples = layout.choose_examples()
            mine = UserData(PAIRS_FILE)
        layout.place_both("Write a story about a weaver and a chest.")
        layout.place_results("Write a story about a weaver and a chest.")
        layout.connect(
            blocks,
            train,
            model,
            [examples, *mine.inputs],
            as_settings=_settings,
            finish=lambda *_: _old_skill,
            suggest=DEMO.default_examples,
            suggested=[examples],
        )
    return blocks


async def train(
    model: str,
    examples: int,
    file: str | None = None,
    pasted: str = "",
    session_key: str = "",
    request: gr.Request | None = None,
) -> AsyncIterator[tuple[Any, ...]]:
    """Fine-tune a model and show the run as it goes; then measure what it still knows of what it knew.

    Args:
        model: tiny, all of whose weights move within seconds, or smollm2, a real chat model, by LoRA.
        examples: How many of the built-in examples to learn from.
        file: A file of your own examples to learn from in their place.
        pasted: Or such examples as a text.
        session_key: The key of your session, as an earlier run gave it; empty for a new one.
        request: Tells visitors apart.

    Returns:
        Status, loss chart, figures and answers as HTML; the run's zip file, the command that repeats it, and the
        session's key.
    """
    async for outputs in DEMO.train(model, _settings(examples, file, pasted), session_key, request, finish=_old_skill):
        yield outputs


def _settings(examples: int, file: str | None, text: str) -> dict[str, Any]:
    return recipe_settings(file, text, examples)


def _old_skill(run: Run, view: RunView, _stop: StopFile) -> Iterator[str]:
    """How much of its old skill a run's model has kept, in words and figures."""
    yield "Trained. Asking for what it could do before …"
    kept = compute.measure_forgetting(run.folder)
    if not kept:
        return
    before, after = (kept[when]["accuracy"] for when in ("before", "after"))
    change = kept["loss_factor"] - 1
    moved = f"{'rose' if change > 0 else 'fell'} by {abs(change):.1%}"
    sentence = f"What it could do before: it answers {after:.0%} of its old questions, {before:.0%} before."
    view.add_result(
        f"{sentence} Its loss on old texts {moved}.",
        {"Old questions": f"{before:.0%} → {after:.0%}", "Old loss": f"× {kept['loss_factor']:.2f}"},
    )


if __name__ == "__main__":
    build().launch(**theme.launch_settings())
