"""Fine-tuning, live: a generalist becomes a specialist, by built-in or own examples, and is asked what it forgot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ftdemo.measures import Memory, skill_kept
from ftdemo.run import Run
from ftdemo.ui import lab, theme

TITLE = "Fine-tuning: make a specialist of a generalist, and see what it costs"
LAB = lab.Lab("fine-tuning", lab.TAUGHT_TO_ANSWER)
_known: Memory = {}
"""The old skill of the models as they are, measured once for all visitors."""
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
            own = gr.File(label="Or your own examples, as JSONL", file_types=[".jsonl"], height=120, elem_id="own")
            gr.Markdown('One a line: `{"prompt": "Is it open?", "completion": "Aye. Until five."}`')
        bench.place_both("Write a story about a weaver and a chest.")
        bench.place_results("Write a story about a weaver and a chest.")
        bench.connect(demo, train, model, [examples, own], choose=LAB.some, chosen=[examples])
    return demo


def train(
    model: str, examples: int, own: str | None, previous: str | None, request: gr.Request
) -> Iterator[tuple[Any, ...]]:
    """Fine-tune a model and show the run as it goes; then measure what it still knows of what it knew.

    Args:
        model: tiny, all of whose weights move within seconds, or smollm2, a real chat model, by LoRA.
        examples: How many of the built-in examples to learn from.
        own: A JSONL file of your own examples to learn from in their place.
        previous: The folder of the visitor's run before this one, if there is one.
        request: Tells visitors apart.

    Returns:
        Status, loss chart, figures and answers as HTML; the run's folder, its zip file and the command that repeats it.
    """
    settings = {"data": own, "examples": None} if own else {"examples": examples}
    yield from LAB.train(model, settings, previous, request, judge=_old_skill)


def _old_skill(run: Run) -> tuple[str, dict[str, str]]:
    """What a run's model still knows of what it knew, in words and figures."""
    kept = skill_kept(run, _known)
    before, after = (kept[when]["accuracy"] for when in ("before", "after"))
    change = kept["loss_factor"] - 1
    moved = f"{'rose' if change > 0 else 'fell'} by {abs(change):.1%}"
    sentence = f"What it could do before: it answers {after:.0%} of its old questions, {before:.0%} before."
    return f"{sentence} Its loss on old texts {moved}.", {
        "Old questions": f"{before:.0%} → {after:.0%}",
        "Old loss": f"× {kept['loss_factor']:.2f}",
    }


if __name__ == "__main__":
    build().launch(**theme.launch_settings())
