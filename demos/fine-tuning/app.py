"""Fine-tuning, live: a model learns to turn messages into tickets, and the demo tests what it forgot."""

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
from ftdemo.ui.user_data import PAIRS_FILE, UserData, pair_settings

TITLE = "Fine-tuning: train a model for one job, and see what it forgets"
DEMO = TrainingDemo("fine-tuning")
_INTRO = """
# Fine-tuning, live

Customers write to an online shop. The model should turn each message into a **ticket**: a JSON object with the
category, the order number, and what the customer wants. It cannot do this yet. Press Train, and it learns the job
**from examples**.

The model answers messages that it has never seen, before and after training, and each field is marked correct or wrong.
Then the demo tests what the model could do before, because training can make a model forget.
"""
_QUESTION = "The kettle from order 48297 leaks, please send me a new one"


def build() -> gr.Blocks:
    """The demo, ready to launch or to mount."""
    with open_page(TITLE) as blocks:
        layout = Layout(DEMO, _INTRO)
        with layout.controls():
            model = layout.choose_model()
            examples = layout.choose_examples()
            mine = UserData(PAIRS_FILE)
        layout.place_both(_QUESTION)
        layout.place_results(_QUESTION)
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
    """Fine-tune a model to turn messages into tickets, and show the run; then measure what it forgot.

    Args:
        model: tiny, all of whose weights are trained within seconds, or smollm2, a real chat model, by LoRA.
        examples: Number of built-in examples to train on.
        file: A file of your own examples to train on instead.
        pasted: The same as a text, instead of a file.
        session_key: The key of your session, as an earlier run gave it; empty for a new one.
        request: Tells visitors apart.

    Returns:
        Status, loss chart, figures and answers as HTML; the run's zip file, the command that repeats it, and the
        session's key.
    """
    async for outputs in DEMO.train(model, _settings(examples, file, pasted), session_key, request, finish=_old_skill):
        yield outputs


def _settings(examples: int, file: str | None, text: str) -> dict[str, Any]:
    return pair_settings(file, text, examples)


def _old_skill(run: Run, view: RunView, _stop: StopFile) -> Iterator[str]:
    """How much of its old skill a run's model has kept, in words and figures."""
    yield "Training is done. Testing what the model forgot …"
    kept = compute.measure_forgetting(run.folder)
    if not kept:
        return
    before, after = (kept[when]["accuracy"] for when in ("before", "after"))
    change = kept["loss_factor"] - 1
    changed = f"{'rose' if change > 0 else 'fell'} by {abs(change):.1%}"
    sentence = f"Old questions answered correctly: {before:.0%} before training, {after:.0%} after."
    view.add_result(
        f"{sentence} The loss on old texts {changed}.",
        {"Old questions correct": f"{before:.0%} → {after:.0%}", "Loss on old texts": f"× {kept['loss_factor']:.2f}"},
    )


if __name__ == "__main__":
    build().launch(**theme.launch_settings())
