"""A notebook that does, step by step, what a demo does: look at the data, train, compare, talk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ftdemo.data.atomic import atomic_write
from ftdemo.errors import ServerError, UsageError, writing
from ftdemo.recipe import NAMED, Recipe

REPOSITORY = "https://github.com/ftdemo/ftdemo"
_DEMOS = {
    "fine-tuning": "Fine-tuning",
    "lora": "LoRA",
    "sft": "SFT",
    "pre-training": "Pre-training",
    "transfer-learning": "Transfer learning",
    "prompting-rag-fine-tuning": "Prompting, RAG or fine-tuning",
}
"""The demos that have a notebook, each with its subject. The notebook trains by the recipe named like the demo."""
_INSTALL = """\
# If ftdemo is not installed, as on a hosted notebook, this installs it. It takes a minute.
import importlib.util

if importlib.util.find_spec("ftdemo") is None:
    %pip install --quiet "ftdemo[smollm2] @ git+{repository}"
"""
_RECIPE = """\
from ftdemo.recipe import Recipe

recipe = Recipe(**{settings})
print(recipe.to_yaml())
"""
_INSPECT = """\
from html import escape

from IPython.display import HTML

from ftdemo.training.inspection import inspect_recipe

seen = inspect_recipe(recipe.with_settings({"examples": min(recipe.examples or 400, 400)}))
pieces = [f"<mark>{escape(text)}</mark>" if trained else escape(text) for text, trained in seen.spans(seen.examples[0])]
HTML(f"<pre style='white-space: pre-wrap'>{''.join(pieces)}</pre>")
"""
_SHOW_LABELS = """\
from ftdemo.data import load_splits

splits = load_splits(recipe.data, seed=recipe.seed, examples=recipe.examples)
for row in list(splits.train)[:6]:
    print(f"{row.label:>10}  {row.text}")
"""
_TRAIN = """\
import tempfile
from pathlib import Path

from IPython.display import HTML, display

from ftdemo import charts
from ftdemo.events import Step
from ftdemo.runs.perform import perform
from ftdemo.runs.run import Run

folder = Path(tempfile.mkdtemp()) / "run"
events, shown = [], display(HTML("Loading the model …"), display_id=True)
for event in perform(recipe, folder):
    events.append(event)
    if isinstance(event, Step):
        chart = charts.standalone(charts.loss_chart(events))
        shown.update(HTML(f"{chart}<p>Step {event.step} of {event.total_steps}, loss {event.loss:.3f}</p>"))
run = Run.load(folder)
print(f"{run.record['status']}; the run is in {folder}")
"""
_COMPARE = """\
before, after = run.samples()
if after is None:
    print("There are too few examples to hold any out, so there is nothing to compare.")
else:
    for name in after.scores:
        print(f"{name}: {before.scores[name]:.2f} before, {after.scores[name]:.2f} after")
    for old, new in list(zip(before.answers, after.answers, strict=True))[:3]:
        print(f"\\n> {new.prompt}\\n\\nbefore: {old.text.strip()}\\n\\nafter:  {new.text.strip()}")
"""
_TALK = """\
from ftdemo.data import Turn
from ftdemo.evaluation.generate import stream_reply

model, tokenizer = run.load_model()
for piece in stream_reply(model, tokenizer, [Turn("user", {question})]):
    print(piece, end="")
"""
_CONTINUE = """\
from ftdemo.evaluation.generate import stream_continuation

model, tokenizer = run.load_model()
for piece in stream_continuation(model, tokenizer, {question}):
    print(piece, end="")
"""
_CLASSIFY = """\
from ftdemo.data import Labelled
from ftdemo.evaluation.evaluate import classify

model, tokenizer = run.load_model()
(answer,) = classify(model, tokenizer, [Labelled(1, {question}, run.labels[0])], run.labels)
print(answer.text)
"""
_QUESTIONS = {
    "sft": "floor lamp dead on arrival, order 40275. new one sent today, arrives Thursday 12 March. keep old one",
    "pre-training": "On Monday Clara went to the shop to buy",
    "transfer-learning": "The glass of my new lamp is cracked, who can help?",
}
_TICKET = "The kettle from order 48297 leaks, please send me a new one"
"""What the models of all other demos are asked."""


def write_notebook(name: str, out: Path) -> Path:
    """Write a demo's notebook.

    Args:
        name: The demo's.
        out: The file.

    Raises:
        UsageError: If there is no such demo.
        ServerError: If the library for notebooks is not installed.
        StorageError: If the file cannot be written.
    """
    if name not in _DEMOS:
        raise UsageError(f"There is no notebook for {name}.", f"The demos with a notebook are: {', '.join(_DEMOS)}.")
    text = of_recipe(NAMED[name], name)
    with writing(out, "Name another file with `--out`."), atomic_write(out, replace=True) as new:
        new.write_text(text, encoding="utf-8")
    return out


def of_recipe(recipe: Recipe, name: str) -> str:
    """A notebook that carries out a recipe, as the text of an ``.ipynb`` file.

    Args:
        recipe: What to do.
        name: The demo that it comes from.

    Raises:
        ServerError: If the library for notebooks is not installed.
    """
    try:
        from nbformat import v4, writes
    except ModuleNotFoundError:
        raise ServerError("Notebooks need the package nbformat.", "Run `pip install 'ftdemo[demos]'`.") from None
    cells: list[Any] = []
    for kind, text in _cells(recipe, name):
        make = v4.new_markdown_cell if kind == "text" else v4.new_code_cell
        cells.append(make(text.strip(), id=f"{name}-{len(cells)}"))
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return str(writes(v4.new_notebook(cells=cells, metadata=kernel))) + "\n"


def _cells(recipe: Recipe, name: str) -> list[tuple[str, str]]:
    settings = json.dumps(recipe.model_dump(exclude_unset=True), indent=4)
    settings = settings.replace(": true", ": True").replace(": false", ": False").replace(": null", ": None")
    question = json.dumps(_QUESTIONS.get(name, _TICKET))
    talk = _CLASSIFY if recipe.is_classifier else _CONTINUE if recipe.starts_new else _TALK
    inspect_cell = _SHOW_LABELS if recipe.is_classifier else _INSPECT
    mine = "a file of your own" if recipe.is_classifier or recipe.starts_new else "your own examples"
    return [
        (
            "text",
            f"# {_DEMOS.get(name, name)}, step by step\n\nThis notebook uses the engine of the demo.",
        ),
        ("code", _INSTALL.format(repository=REPOSITORY)),
        ("text", f"## The recipe\n\nIt contains every setting of the run. To train on {mine}, set `data` to its path."),
        ("code", _RECIPE.format(settings=settings)),
        ("text", "## The data, as the model reads it\n\nIf tokens are marked, only these count in the loss."),
        ("code", inspect_cell),
        ("text", "## Train\n\nTo stop early, interrupt the kernel. The model is kept as trained so far."),
        ("code", _TRAIN),
        ("text", "## Before and after\n\nThe model answers held-out prompts."),
        ("code", _COMPARE),
        ("text", "## Try it yourself"),
        ("code", talk.format(question=question)),
    ]
