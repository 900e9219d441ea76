"""Fine-tuning, live: a generalist becomes a specialist, by built-in or own examples, and is asked what it forgot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import gradio as gr

from ftdemo.runs.run import Run
from ftdemo.ui import lab, own, session, theme
from ftdemo.ui.view import View
from ftdemo.ui.visits import Stop

TITLE = "Fine-tuning: make a specialist of a generalist, and see what it costs"
LAB = lab.Lab("fine-tuning", lab.TAUGHT_TO_ANSWER)
_INTRO = """
# Fine-tuning, live

A model that can do many things a little is trained on **examples of one thing**. Two skills are watched: the new one,
and what it could do before. The small model of the house learns to tell the story it is asked for, SmolLM2 to write
letters like one shop's crew. Or bring examples of your own.
"""


def build() -> gr.Blocks:
    """The demo, ready to launch or to mount."""
    with lab.open_page(TITLE) as demo:
        bench = lab.Workbench(LAB, _INTRO)
        with bench.controls():
            model = bench.choose_model()
            examples = bench.choose_examples()
            mine = own.OwnData(own.PAIRS)
        bench.place_both("Write a story about a weaver and a chest.")
        bench.place_results("Write a story about a weaver and a chest.")
        bench.connect(
            demo,
            train,
            model,
            [examples, *mine.inputs],
            set_as=_settings,
            finish=lambda *_: _old_skill,
            choose=LAB.some,
            chosen=[examples],
        )
    return demo


async def train(
    model: str,
    examples: int,
    own: str | None = None,
    pasted: str = "",
    visit: str = "",
    request: gr.Request | None = None,
) -> AsyncIterator[tuple[Any, ...]]:
    """Fine-tune a model and show the run as it goes; then measure what it still knows of what it knew.

    Args:
        model: tiny, all of whose weights move within seconds, or smollm2, a real chat model, by LoRA.
        examples: How many of the built-in examples to learn from.
        own: A file of your own examples to learn from in their place.
        pasted: Or such examples as a text.
        visit: The key of your visit, as an earlier run gave it; empty for a new one.
        request: Tells visitors apart.

    Returns:
        Status, loss chart, figures and answers as HTML; the run's zip file, the command that repeats it, and the
        visit's key.
    """
    async for shown in LAB.train(model, _settings(examples, own, pasted), visit, request, finish=_old_skill):
        yield shown


def _settings(examples: int, file: str | None, text: str) -> dict[str, Any]:
    return own.settings(file, text, examples)


def _old_skill(run: Run, view: View, _stop: Stop) -> Iterator[str]:
    """What a run's model still knows of what it knew, in words and figures."""
    yield "Trained. Asking for what it could do before …"
    kept = session.skill_kept(run.folder)
    if not kept:
        return
    before, after = (kept[when]["accuracy"] for when in ("before", "after"))
    change = kept["loss_factor"] - 1
    moved = f"{'rose' if change > 0 else 'fell'} by {abs(change):.1%}"
    sentence = f"What it could do before: it answers {after:.0%} of its old questions, {before:.0%} before."
    view.judge(
        f"{sentence} Its loss on old texts {moved}.",
        {"Old questions": f"{before:.0%} → {after:.0%}", "Old loss": f"× {kept['loss_factor']:.2f}"},
    )


if __name__ == "__main__":
    build().launch(**theme.launch_settings())
