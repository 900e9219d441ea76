"""Pre-training, live: from random weights to words to sentences, on generated stories or on a text of one's own."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ftdemo.recipe import named
from ftdemo.ui import lab, theme

TITLE = "Pre-training: watch a model learn to write, from nothing"
LAB = lab.Lab("pre-training", {"new": named("scratch", "new")})
_SIZES = {"0.2 million": (64, 3), "0.5 million": (96, 4), "0.9 million": (128, 4)}
"""About how many weights a new model has, by its width and its layers."""
_LEARNING_RATE = 5e-3
"""With Muon, which needs about half the tokens of AdamW here. See the recipe of the house's own models."""
_LOOKS = 6
"""How often the openings are gone on with while it trains."""
_MOST_TEXT = 200_000
"""Characters of a text that is brought along."""
_SMALL_VOCABULARY, _LITTLE_TEXT = 320, 20_000
"""A short text has not enough different pieces for more; 256 of them are the bytes."""
_INTRO = """
# Pre-training, live

The model begins at **random weights**. It has never seen a letter. It reads texts about an invented harbour town and is
taught one thing alone: which token comes next. Watch what it makes of the same openings as it goes: first noise, then
words, then sentences. The lines across the curve are models that only *count*: `uniform` guesses among all tokens,
`unigram` knows how frequent each is, `bigram` which follows which.
"""


def build() -> gr.Blocks:
    """The demo, ready to launch or to mount."""
    with lab.open_page(TITLE) as demo:
        bench = lab.Workbench(LAB, _INTRO)
        model = gr.State("new")
        with bench.controls():
            size = gr.Radio(list(_SIZES), value="0.5 million", label="Weights of the model", elem_id="size")
            examples = gr.Slider(
                200, 4000, 1600, step=200, label="Texts", info="How many are read, each once.", elem_id="texts"
            )
            text = gr.Textbox(
                label="Or a text of your own",
                info="Some pages, with empty lines between the parts. It is read ten times, and stays here.",
                lines=4,
                max_lines=8,
                max_length=_MOST_TEXT,
            )
        bench.place_results(
            "One windy Tuesday Nell the cooper was mending",
            asked="Openings that it goes on with",
            talk="## Give it the first words\nIt goes on with them. It has not learned to answer.",
        )
        bench.connect(demo, train, model, [size, examples, text])
    return demo


def train(
    model: str, size: str, examples: int, text: str, previous: str | None, request: gr.Request
) -> Iterator[tuple[Any, ...]]:
    """Train a new language model from random weights and show what it writes as it goes.

    Args:
        model: new: there is no other to begin from.
        size: About how many weights it has: 0.2 million, 0.5 million or 0.9 million.
        examples: How many generated texts it reads, each once.
        text: A text of your own to read in their place; empty for none.
        previous: The folder of the visitor's run before this one, if there is one.
        request: Tells visitors apart.

    Returns:
        Status, loss chart, figures and answers as HTML; the run's folder, its zip file and the command that repeats it.
    """
    width, layers = _SIZES[size]
    settings: dict[str, Any] = {"width": width, "layers": layers, "optimizer": "muon", "lr": _LEARNING_RATE}
    if not text.strip():
        steps = examples // 6
        settings |= {"examples": examples, "sample_every": steps // _LOOKS}
        yield from LAB.train(model, settings, previous, request)
        return
    with tempfile.TemporaryDirectory(prefix="ftdemo-text-") as folder:
        data = Path(folder) / "mine.jsonl"
        parts = [part.strip() for part in text.split("\n\n") if part.strip()]
        data.write_text("".join(json.dumps({"text": part}) + "\n" for part in parts), encoding="utf-8")
        settings |= {"data": str(data), "examples": None, "epochs": 10, "sample_every": 20}
        if len(text) < _LITTLE_TEXT:
            settings["vocabulary"] = _SMALL_VOCABULARY
        yield from LAB.train(model, settings, previous, request)


if __name__ == "__main__":
    build().launch(**theme.launch_settings())
