"""LoRA, live: choose a model and a rank, train it on a style, and talk to it before and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ftdemo.recipe import named
from ftdemo.ui import lab, theme

TITLE = "LoRA: teach a model a voice by training two percent of it"
LAB = lab.Lab("lora", {model: named("lora", model) for model in lab.MODELS})
_LEARNING_RATES = sorted({1e-3, 2e-3, 4e-3, 1e-2, 2e-2, *(recipe.lr for recipe in LAB.usual.values())})
_INTRO = """
# LoRA, live

A model's weights stay **frozen**. Beside each of its matrices a small pair of new ones is trained, until it answers in
another style. The small model of the house speaks of a harbour town, and learns to answer as a ship's log, with times.
SmolLM2 is a real chat model, and learns to answer letters like a shop's crew: three lines, `Sighted:`, `Course:`,
`Tide:`, in a voice of their own.
"""


def build() -> gr.Blocks:
    """The demo, ready to launch or to mount."""
    usual = LAB.usual[LAB.first]
    with lab.open_page(TITLE) as demo:
        bench = lab.Workbench(LAB, _INTRO)
        with bench.controls():
            model = bench.choose_model()
            rank = gr.Slider(1, 64, usual.rank, step=1, label="Rank", info="Width of the two new matrices.")
            lr = gr.Dropdown(_LEARNING_RATES, value=usual.lr, label="Learning rate", info="How far each step goes.")
            examples = bench.choose_examples()
        bench.place_results("How was the voyage to Merrin?")
        bench.connect(demo, train, model, [rank, lr, examples], choose=_choose, chosen=[lr, examples])
    return demo


def train(
    model: str, rank: int, lr: float, examples: int, previous: str | None, request: gr.Request
) -> Iterator[tuple[Any, ...]]:
    """Train a LoRA adapter on a change of style and show the run as it goes.

    Args:
        model: tiny, which takes seconds, or smollm2, a real chat model.
        rank: Rank of the update, 1 to 64.
        lr: Peak learning rate.
        examples: How many examples to learn from.
        previous: The folder of the visitor's run before this one, if there is one.
        request: Tells visitors apart.

    Returns:
        Status, loss chart, figures and answers as HTML; the run's folder, its zip file and the command that repeats it.
    """
    yield from LAB.train(model, {"rank": rank, "lr": lr, "examples": examples}, previous, request)


def _choose(model: str) -> tuple[float, int]:
    """The learning rate and the number of examples that suit the chosen model."""
    return LAB.usual[model].lr, LAB.some(model)


if __name__ == "__main__":
    build().launch(**theme.launch_settings())
