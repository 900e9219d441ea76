"""Transfer learning, live: one classifier from scratch, as a probe and fine-tuned, over the number of labels."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import gradio as gr

from ftdemo import charts
from ftdemo.data import Labelled, load_splits
from ftdemo.evaluate import classify
from ftdemo.events import Sampled, Step
from ftdemo.recipe import Recipe
from ftdemo.run import Run, perform
from ftdemo.ui import lab, panels, session, theme

TITLE = "Transfer learning: what a pre-trained model is worth, label by label"
_STEPS = 30
_USUAL: dict[str, Any] = {
    "data": "shop-mail",
    "epochs": 1000,
    "max_steps": _STEPS,
    "batch_tokens": 1024,
    "eval_every": None,
    "sample_prompts": 120,
}
WAYS = {
    "from scratch": Recipe(method="classify", model="minilm", weights="random", lr=5e-4, **_USUAL),
    "linear probe": Recipe(method="probe", **_USUAL),
    "fine-tuned": Recipe(method="classify", **_USUAL),
}
_COUNTS = (24, 96, 360)
_FIRST_COUNT = 96
_INTRO = f"""
# Transfer learning, live

Six kinds of messages come to a shop. The same network, MiniLM, learns to sort them in three ways: **from scratch**,
that is from random weights; as a **linear probe**, which leaves it as it is and trains one layer on top; and
**fine-tuned**, all of it from its pre-trained weights. Each takes {_STEPS} steps and is judged by 120 messages it has
never seen.
"""
VISITS = lab.Visits("transfer-learning", stopping="Stopping. What was trained is kept …")


def build() -> gr.Blocks:
    """The demo, ready to launch or to mount."""
    with lab.open_page(TITLE) as demo:
        folder = gr.State(None, time_to_live=3600, delete_callback=session.forget)
        gr.Markdown(_INTRO, elem_classes="ft-lead")
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                most = gr.Radio(
                    list(_COUNTS),
                    value=_FIRST_COUNT,
                    label="Labels, at most",
                    info="Fewer are tried first.",
                    elem_id="most",
                )
                with gr.Row():
                    train_button, stop_button = lab.place_buttons()
                status = gr.HTML(panels.status("Ready. Press Train."), elem_id="status")
                numbers = gr.HTML(elem_id="numbers")
            with gr.Column(scale=2, min_width=320):
                chart = gr.HTML(_chart({}), elem_id="chart")
        gr.Markdown("## Write a message\nAll three sort it.")
        said = gr.Textbox(
            label="Your message",
            placeholder="My lamp came with a cracked glass.",
            max_length=1000,
            submit_btn="Sort",
        )
        sorted_as = gr.HTML(elem_id="sorted")
        with gr.Row():
            download = gr.DownloadButton("Download the three models", interactive=False, elem_id="download")
            command = gr.Code(_commands(_FIRST_COUNT), language="shell", label="Do this again in your shell", lines=3)
        train_button.click(
            train,
            [most, folder],
            [status, chart, numbers, folder, download, command],
            **lab.COMPUTES,
            api_name="train",
            concurrency_limit=1,
        )
        stop_button.click(VISITS.stop, None, status, api_name="stop", queue=False)
        said.submit(sort, [said, folder], sorted_as, **lab.COMPUTES, api_visibility="private")
    return demo


def train(most: int, previous: str | None, request: gr.Request) -> Iterator[tuple[Any, ...]]:
    """Train the same classifier in three ways with more and more labels, and draw how well each sorts unseen messages.

    Args:
        most: The largest number of labels: 24, 96 or 360.
        previous: The folder of the visitor's models before these, if there are some.
        request: Tells visitors apart.

    Returns:
        Status, chart and figures as HTML; the folder of the three models, their zip file, and the commands that repeat
        the last three runs.
    """
    points: dict[str, list[charts.Point]] = {way: [] for way in WAYS}

    def show(
        text: str, *, error: bool = False, folder: Path | None = None, archive: str | None = None
    ) -> tuple[Any, ...]:
        shown = {way: f"{line[-1].y:.0%}" for way, line in points.items() if line}
        return (
            panels.status(text, error=error),
            _chart(points),
            panels.numbers(shown),
            str(folder) if folder else gr.skip(),
            gr.update(value=archive, interactive=True) if archive else gr.update(interactive=False),
            _commands(most),
        )

    def work(folder: Path, stopping: threading.Event) -> Iterator[tuple[Any, ...]]:
        yield show("Preparing …")
        counts = (count for count in _COUNTS if count <= most)
        for count, (way, usual) in product(counts, WAYS.items()):
            out = folder / way
            shutil.rmtree(out, ignore_errors=True)
            for event in perform(usual.with_settings({"examples": count}), out, stop=stopping):
                if isinstance(event, Step):
                    yield show(f"{count} labels, {way}: step {event.step} of {event.total_steps}.")
                if isinstance(event, Sampled) and event.step:
                    accuracy = event.scores["accuracy"]
                    points[way].append(charts.Point(count, accuracy, accuracy, accuracy))
            if stopping.is_set():
                break
        if not folder.exists():
            yield show("Stopped before the first step: there is nothing to keep.")
            return
        yield show(_sentence(points), folder=folder, archive=session.as_zip(folder))

    yield from VISITS.host(work, lambda told: show(told, error=True), previous, request)


def sort(said: str, folder: str | None) -> str:
    """Sort a message by the visitor's models, and show their verdicts as HTML.

    Args:
        said: The message.
        folder: The folder of the models.
    """
    if folder is None:
        raise gr.Error("There are no trained models yet. Press Train first.", print_exception=False)
    verdicts = {}
    for way in WAYS:
        if (Path(folder) / way).exists():
            run = Run.load(Path(folder) / way)
            (answer,) = classify(*run.load_model(), [Labelled(1, said, run.labels[0])], run.labels)
            verdicts[way] = answer.text
    return panels.numbers(verdicts)


def _chart(points: dict[str, list[charts.Point]]) -> str:
    shown = {way: line for way, line in points.items() if line}
    return charts.lines_chart(
        shown, "Unseen messages sorted right", x_label=f"labelled examples ({_STEPS} steps in each case)", log=True
    )


def _sentence(points: dict[str, list[charts.Point]]) -> str:
    """What just happened, by the run's own numbers."""
    last = {way: line[-1] for way, line in points.items() if line}
    if len(last) < len(WAYS):
        return "Stopped early. What was trained can be tried below."
    labels = int(max(point.x for point in last.values()))
    told = ", ".join(f"{way} {point.y:.0%}" for way, point in last.items())
    by_chance = 1 / len({row.label for row in load_splits("shop-mail", seed=0).heldout if isinstance(row, Labelled)})
    return f"Done. With up to {labels} labels: {told} sorted right. By chance it would be {by_chance:.0%}."


def _commands(most: int) -> str:
    return "\n".join(lab.command(usual.with_settings({"examples": most})) for usual in WAYS.values())


if __name__ == "__main__":
    build().launch(**theme.launch_settings())
