"""Pre-training, live: from random weights to words to sentences, on generated texts or on a visitor's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from ftdemo.recipe import NAMED
from ftdemo.ui import theme
from ftdemo.ui.layout import Layout, open_page
from ftdemo.ui.training_demo import TrainingDemo
from ftdemo.ui.user_data import TEXTS_FILE, UserData, recipe_settings

TITLE = "Pre-training: watch a model learn to write, from nothing"
DEMO = TrainingDemo("pre-training", {"new": NAMED["pre-training"]})
_SIZES = {"0.2 million": (64, 3), "0.5 million": (96, 4), "0.9 million": (128, 4)}
"""About how many weights a new model has, by its width and its layers."""
_USUAL = DEMO.recipes["new"]
_USUAL_SIZE = next(size for size, shape in _SIZES.items() if shape == (_USUAL.width, _USUAL.layers))
_SMALL_VOCABULARY, _LITTLE_TEXT = 320, 20_000
"""A text of fewer bytes has not enough different pieces for more tokens; 256 of them are the bytes."""
_INTRO = """
# Pre-training, live

The model starts with **random weights**: it has never seen a word. It reads generated texts about shops and their
customers, and learns one thing only, to predict the next token. Watch how it continues the same openings during
training: first noise, then words, then sentences. Or let it read a text of yours.

The lines across the chart are models that only *count*: `uniform` guesses among all tokens, `unigram` knows how often
each occurs, `bigram` knows which follows which.
"""


def build() -> gr.Blocks:
    """The demo, ready to launch or to mount."""
    with open_page(TITLE) as blocks:
        layout = Layout(DEMO, _INTRO)
        model = gr.State("new")
        with layout.controls():
            size = gr.Radio(list(_SIZES), value=_USUAL_SIZE, label="Weights of the model", elem_id="size")
            examples = gr.Slider(
                200,
                8000,
                _USUAL.examples,
                step=200,
                label="Texts",
                info="How many it reads, each once.",
                elem_id="texts",
            )
            mine = UserData(TEXTS_FILE)
        layout.place_results(
            "On Monday Clara went to the shop to buy",
            answers_title="Openings that the model continues",
            chat_title="## Give it the first words\nIt continues them. It has not learnt to answer.",
        )
        layout.connect(blocks, train, model, [size, examples, *mine.inputs], as_settings=_settings)
    return blocks


async def train(
    model: str,
    size: str,
    examples: int,
    file: str | None = None,
    pasted: str = "",
    session_key: str = "",
    request: gr.Request | None = None,
) -> AsyncIterator[tuple[Any, ...]]:
    """Train a new language model from random weights and show what it writes during training.

    Args:
        model: new: there is no other to start from.
        size: About how many weights it has: 0.2 million, 0.5 million or 0.9 million.
        examples: How many generated texts it reads, each once.
        file: A file of texts of your own to read instead, ten times each.
        pasted: Or such texts, with empty lines between them.
        session_key: The key of your session, as an earlier run gave it; empty for a new one.
        request: Tells visitors apart.

    Returns:
        Status, loss chart, figures and answers as HTML; the run's zip file, the command that repeats it, and the
        session's key.
    """
    async for outputs in DEMO.train(model, _settings(size, examples, file, pasted), session_key, request):
        yield outputs


def _settings(size: str, examples: int, file: str | None, text: str) -> dict[str, Any]:
    width, layers = _SIZES[size]
    settings: dict[str, Any] = {"width": width, "layers": layers}
    mine = recipe_settings(file, text, examples)
    if "data" not in mine:
        texts_per_sample = (_USUAL.examples or 0) / (_USUAL.sample_every or 1)
        return settings | mine | {"sample_every": max(1, round(examples / texts_per_sample))}
    if Path(mine["data"]).stat().st_size < _LITTLE_TEXT:
        settings["vocabulary"] = _SMALL_VOCABULARY
    return settings | mine | {"epochs": 10, "sample_every": 20}


if __name__ == "__main__":
    build().launch(**theme.launch_settings())
