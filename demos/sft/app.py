"""SFT, live: see which tokens have a loss, train a model on notes and replies, and leave out what makes it stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from ftdemo.errors import FtdemoError
from ftdemo.training.inspection import inspect_recipe
from ftdemo.ui import panels, theme
from ftdemo.ui.layout import Layout, open_page
from ftdemo.ui.training_demo import TrainingDemo
from ftdemo.ui.user_data import PAIRS_FILE, UserData, pair_settings

TITLE = "SFT: teach a model to write replies, and see which tokens it learns from"
DEMO = TrainingDemo("sft")
_INTRO = """
# Supervised fine-tuning, live

A service agent at an online shop types notes. The model should write the **reply** to the customer: three lines,
`Summary:`, `Next step:` and `When:`, with every fact from the notes and nothing else. Examples of notes with their
replies teach it how.

Below is one example as the model reads it. Only the marked tokens count in the loss, so the model learns only from
them. Leave out the **stop token** at the end, or train on the notes as well, and see how the answers change.
"""
_QUESTION = "floor lamp dead on arrival, order 40275. new one sent today, arrives Thursday 12 March. keep old one"
_TRAIN_ON = {"the replies": "completion", "notes and replies": "all"}


def build() -> gr.Blocks:
    """The demo, ready to launch or to mount."""
    with open_page(TITLE) as blocks:
        layout = Layout(DEMO, _INTRO)
        tokens = gr.HTML(elem_id="tokens", render=False)
        with layout.controls(above_chart=[tokens]):
            model = layout.choose_model()
            train_on = gr.Radio(list(_TRAIN_ON.items()), value="completion", label="Trained tokens", elem_id="train-on")
            train_stop = gr.Checkbox(True, label="Train the stop token", elem_id="train-stop")
            examples = layout.choose_examples()
            mine = UserData(PAIRS_FILE)
        layout.place_results(_QUESTION, answers_title="Replies to unseen notes")
        controls = [train_on, train_stop, examples, *mine.inputs]
        layout.connect(
            blocks, train, model, controls, as_settings=_settings, suggest=DEMO.default_examples, suggested=[examples]
        )
        inputs = [model, train_on, train_stop, *mine.inputs]
        marking: dict[str, Any] = {"api_name": "tokens_sft", "show_progress": "hidden", "concurrency_limit": None}
        gr.on([blocks.load, *(each.change for each in inputs)], mark, inputs, tokens, **marking)
    return blocks


async def train(
    model: str,
    train_on: str,
    train_stop: bool,
    examples: int,
    file: str | None = None,
    pasted: str = "",
    session_key: str = "",
    request: gr.Request | None = None,
) -> AsyncIterator[tuple[Any, ...]]:
    """Train a model on examples of notes with replies, and show the run.

    Args:
        model: tiny, all of whose weights are trained within seconds, or smollm2, a real chat model, by LoRA.
        train_on: Which tokens have a loss: completion, the replies alone, or all, the notes too.
        train_stop: Whether the stop token that ends a reply has a loss.
        examples: Number of built-in examples to train on.
        file: A file of your own examples to train on instead.
        pasted: The same as a text, instead of a file.
        session_key: The key of your session, as an earlier run gave it; empty for a new one.
        request: Tells visitors apart.

    Returns:
        Status, loss chart, figures and answers as HTML; the run's zip file, the command that repeats it, and the
        session's key.
    """
    async for outputs in DEMO.train(
        model, _settings(train_on, train_stop, examples, file, pasted), session_key, request
    ):
        yield outputs


def _settings(train_on: str, train_stop: bool, examples: int, file: str | None, text: str) -> dict[str, Any]:
    return {"train_on": train_on, "train_stop": train_stop} | pair_settings(file, text, examples)


def mark(model: str, train_on: str, train_stop: bool, file: str | None, pasted: str) -> str:
    """Show one example as the model reads it, as HTML, with the tokens marked that have a loss.

    Args:
        model: tiny or smollm2.
        train_on: Which tokens have a loss: completion or all.
        train_stop: Whether the stop token has a loss.
        file: A file of your own examples to show the first of.
        pasted: The same as a text, instead of a file.
    """
    try:
        settings = _settings(train_on, train_stop, 1, file, pasted) | {"examples": 1}
        inspected = inspect_recipe(DEMO.recipe(model, settings))
    except FtdemoError as error:
        return panels.error_line(error)
    return panels.marked_tokens(inspected.spans(inspected.examples[0]))


if __name__ == "__main__":
    build().launch(**theme.launch_settings())
