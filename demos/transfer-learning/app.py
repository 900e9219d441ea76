"""Transfer learning, live: messages go to eight teams, by a classifier from scratch, as a probe and fine-tuned."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ftdemo import charts
from ftdemo.data import load_splits
from ftdemo.errors import FtdemoError
from ftdemo.events import Sampled, Step
from ftdemo.recipe import NAMED, Recipe
from ftdemo.runs.run import Run
from ftdemo.ui import compute, limits, panels, theme
from ftdemo.ui.demo import ANSWERS, FOLLOWS, Demo
from ftdemo.ui.job_queue import StopFile
from ftdemo.ui.layout import (
    connect_buttons,
    open_page,
    place_buttons,
    place_intro,
    place_session_key,
    restore_session,
)
from ftdemo.ui.run_view import shell_command
from ftdemo.ui.sessions import STOPPED_EARLY
from ftdemo.ui.user_data import LABELS_FILE, UserData, recipe_settings

TITLE = "Transfer learning: what a pre-trained model is worth, label by label"
_USUAL = NAMED["transfer-learning"]
_STEPS = _USUAL.max_steps
RECIPES = {
    "from scratch": _USUAL.with_settings({"weights": "random", "lr": 5e-4}),
    "linear probe": _USUAL.with_settings({"method": "probe"}),
    "fine-tuned": _USUAL,
}
_COUNTS = (32, 128, 512)
_FIRST_COUNT = _USUAL.examples or _COUNTS[0]
_WORTH_A_CURVE = 24
_INTRO = f"""
# Transfer learning, live

An online shop has eight teams: delivery, returns, warranty, payments, advice, account, website and business. Each
message should go to the team that can answer it. The same network, MiniLM, learns to choose the team in three ways:

- **from scratch**: from random weights, so it knows nothing about language;
- **linear probe**: its pre-trained weights stay as they are, and one new layer on top is trained;
- **fine-tuned**: all its pre-trained weights are trained, with the new layer.

Each of the three models trains for {_STEPS} steps and is tested on 160 messages that it has never seen.
"""
DEMO = Demo("transfer-learning", outputs=5, stopping="Stopping. The trained models are kept …")


def build() -> gr.Blocks:
    """The demo, ready to launch or to mount."""
    with open_page(TITLE) as blocks:
        key = place_session_key()
        place_intro(_INTRO, DEMO)
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                most = gr.Radio(
                    list(_COUNTS),
                    value=_FIRST_COUNT,
                    label="Labelled examples (maximum)",
                    info="The demo trains with smaller numbers first.",
                    elem_id="most",
                )
                mine = UserData(LABELS_FILE)
                cost = gr.HTML(elem_id="expected")
                with gr.Row():
                    buttons = place_buttons()
                status = gr.HTML(panels.status_line("Ready. Press Train."), elem_id="status")
                figures = gr.HTML(elem_id="numbers")
            with gr.Column(scale=2, min_width=320):
                chart = gr.HTML(_chart({}), elem_id="chart")
        gr.Markdown("## Write a message\nEach of the three models chooses a team for it.")
        message = gr.Textbox(
            label="Your message",
            placeholder="The glass of my new lamp is cracked, who can help?",
            max_length=1000,
            submit_btn="Sort",
        )
        sorted_as = gr.HTML(elem_id="sorted")
        with gr.Row():
            download = gr.DownloadButton("Download all models", interactive=False, elem_id="download")
            repeat = gr.Code(_commands([]), label="Commands to repeat the last runs", lines=3, wrap_lines=True)
        controls, outputs = [most, *mine.inputs], [status, chart, figures, download, repeat, key]
        connect_buttons(DEMO, train, [*controls, key], outputs, buttons)
        hidden: dict[str, Any] = {**FOLLOWS, "api_visibility": "private"}
        restore_session(blocks, DEMO, key, outputs, controls).then(predict_cost, controls, cost, **hidden)
        gr.on([each.change for each in controls], predict_cost, controls, cost, trigger_mode="always_last", **hidden)
        message.submit(sort, [message, key], sorted_as, **ANSWERS, api_name="sort_transfer_learning")
    return blocks


async def train(
    most: int, file: str | None = None, pasted: str = "", session_key: str = "", request: gr.Request | None = None
) -> AsyncIterator[tuple[Any, ...]]:
    """Train one classifier in three ways with more and more labels, and draw how well each classifies new messages.

    Args:
        most: The largest number of labels: 32, 128 or 512.
        file: A file of your own labelled texts to train on instead of the built-in messages.
        pasted: The same as text, instead of a file.
        session_key: The key of your session, as an earlier run gave it; empty for a new one.
        request: Tells visitors apart.

    Returns:
        Status, chart and figures as HTML; the zip file of the three models, the commands that repeat the last three
        runs, and the session's key.
    """
    points: dict[str, list[charts.Point]] = {name: [] for name in RECIPES}
    archive: list[str] = []
    plan: list[tuple[int, str, Recipe]] = []

    def render(text: str, *, error: bool = False) -> tuple[Any, ...]:
        """The demo's outputs, with this status."""
        accuracies = {name: f"{line[-1].y:.0%}" for name, line in points.items() if line}
        return (
            panels.status_line(text, error=error),
            _chart(points),
            panels.figures(accuracies),
            gr.update(value=archive[-1] if archive else None, interactive=bool(archive)),
            _commands(plan),
        )

    def job(folder: Path, stop: StopFile) -> Iterator[tuple[Any, ...]]:
        """Train all models of the plan, and yield the outputs as they change."""
        yield render("Preparing …")
        plan.extend(_plan(most, file, pasted))
        for count, name, recipe in plan:
            out = folder.parent / "one"
            for event in compute.run_recipe(recipe, out, stop):
                if isinstance(event, Step):
                    yield render(f"{count} labelled examples, {name}: step {event.step} of {event.total_steps}.")
                if isinstance(event, Sampled) and event.step:
                    accuracy = event.scores["accuracy"]
                    points[name].append(charts.Point(count, accuracy, accuracy, accuracy))
            if out.exists():
                shutil.rmtree(folder / name, ignore_errors=True)
                folder.mkdir(exist_ok=True)
                out.rename(folder / name)
            if stop.is_set():
                break
        if not folder.exists():
            yield render(STOPPED_EARLY)
            return
        archive.append(compute.zip_run(folder, DEMO.slug))
        yield render(_sentence(points, folder))

    async for outputs in DEMO.run_job(job, render, session_key, request):
        yield outputs


def _plan(most: int, file: str | None, text: str) -> list[tuple[int, str, Recipe]]:
    """The runs, in order: the number of labels, the name of the recipe, and the recipe.

    Raises:
        FtdemoError: If the visitor's examples cannot be used.
    """
    mine = recipe_settings(file, text, None)
    if "data" not in mine:
        return [
            (n, name, usual.with_settings({"examples": n}))
            for n in _COUNTS
            if n <= most
            for name, usual in RECIPES.items()
        ]
    rows = len(load_splits(mine["data"], seed=0, examples=mine["examples"]).train)
    counts = sorted({max(rows // 4, 1), rows} if rows >= _WORTH_A_CURVE else {rows})
    settings = {"data": mine["data"]}
    return [
        (n, name, usual.with_settings({**settings, "examples": n})) for n in counts for name, usual in RECIPES.items()
    ]


def predict_cost(most: int, file: str | None, text: str) -> str:
    """How long a run would take here, as HTML."""
    try:
        return panels.cost_estimate(sum(compute.predicted_seconds(recipe) for _, _, recipe in _plan(most, file, text)))
    except FtdemoError as error:
        return panels.error_line(error)


def sort(message: str, session_key: str, request: gr.Request) -> str:
    """Classify a message by the visitor's models, and show the classes as HTML.

    Args:
        message: The message.
        session_key: The key of your session, as training gave it.
        request: Tells visitors apart.
    """
    limits.refuse_long(message)
    folder = DEMO.run_folder(session_key, request)
    verdicts = {
        name: compute.classify_text(str(folder / name), message) for name in RECIPES if (folder / name).exists()
    }
    return panels.figures(verdicts)


def _chart(points: dict[str, list[charts.Point]]) -> str:
    lines = {name: line for name, line in points.items() if line}
    return charts.lines_chart(
        lines,
        "Share of unseen messages classified correctly",
        x_label=f"labelled examples ({_STEPS} steps in each case)",
        log=True,
    )


def _sentence(points: dict[str, list[charts.Point]], folder: Path) -> str:
    """What just happened, by the run's own numbers."""
    last = {name: line[-1] for name, line in points.items() if line}
    if len(last) < len(RECIPES):
        return "Training stopped early, or there are too few examples to test on. Try the trained models below."
    labels = int(max(point.x for point in last.values()))
    accuracies = ", ".join(f"{name} {point.y:.0%}" for name, point in last.items())
    by_chance = 1 / len(Run.load(next(folder.iterdir())).labels)
    return f"Done. Correct with {labels} labelled examples: {accuracies}. Guessing would get {by_chance:.0%}."


def _commands(plan: list[tuple[int, str, Recipe]]) -> str:
    last = plan[-len(RECIPES) :] or [(_FIRST_COUNT, name, recipe) for name, recipe in RECIPES.items()]
    return "\n".join(shell_command(recipe.with_settings({"examples": count})) for count, _, recipe in last)


if __name__ == "__main__":
    build().launch(**theme.launch_settings())
