"""Transfer learning, live: one classifier from scratch, as a probe and fine-tuned, over the number of labels."""

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
from ftdemo.recipe import Recipe
from ftdemo.runs.run import Run
from ftdemo.ui import lab, limits, own, panels, session, theme
from ftdemo.ui.view import command
from ftdemo.ui.visits import Stop

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
_WORTH_A_CURVE = 24
_INTRO = f"""
# Transfer learning, live

Six kinds of messages come to a shop. The same network, MiniLM, learns to sort them in three ways: **from scratch**,
that is from random weights; as a **linear probe**, which leaves it as it is and trains one layer on top; and
**fine-tuned**, all of it from its pre-trained weights. Each takes {_STEPS} steps and is judged by 120 messages it has
never seen.
"""
HOST = lab.Host("transfer-learning", outputs=5, stopping="Stopping. What was trained is kept …")


def build() -> gr.Blocks:
    """The demo, ready to launch or to mount."""
    with lab.open_page(TITLE) as demo:
        key = lab.place_key()
        lab.place_intro(_INTRO, HOST)
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                most = gr.Radio(
                    list(_COUNTS),
                    value=_FIRST_COUNT,
                    label="Labels, at most",
                    info="Fewer are tried first.",
                    elem_id="most",
                )
                mine = own.OwnData(own.LABELS)
                expected = gr.HTML(elem_id="expected")
                with gr.Row():
                    buttons = lab.place_buttons()
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
            repeat = gr.Code(_commands([]), label="Do this again in your shell", lines=3, wrap_lines=True)
        controls, shown = [most, *mine.inputs], [status, chart, numbers, download, repeat, key]
        lab.connect_buttons(HOST, train, [*controls, key], shown, buttons)
        told: dict[str, Any] = {**lab.FOLLOWS, "api_visibility": "private"}
        lab.come_back(demo, HOST, key, shown, controls).then(predict_cost, controls, expected, **told)
        gr.on([each.change for each in controls], predict_cost, controls, expected, trigger_mode="always_last", **told)
        said.submit(sort, [said, key], sorted_as, **lab.ANSWERS, api_name="sort_transfer_learning")
    return demo


async def train(
    most: int, own: str | None = None, pasted: str = "", visit: str = "", request: gr.Request | None = None
) -> AsyncIterator[tuple[Any, ...]]:
    """Train the same classifier in three ways with more and more labels, and draw how well each sorts unseen messages.

    Args:
        most: The largest number of labels: 24, 96 or 360.
        own: A file of your own labelled texts to learn from in place of the built-in messages.
        pasted: Or such texts.
        visit: The key of your visit, as an earlier run gave it; empty for a new one.
        request: Tells visitors apart.

    Returns:
        Status, chart and figures as HTML; the zip file of the three models, the commands that repeat the last three
        runs, and the visit's key.
    """
    points: dict[str, list[charts.Point]] = {way: [] for way in WAYS}
    archive: list[str] = []
    plan: list[tuple[int, str, Recipe]] = []

    def show(text: str, *, error: bool = False) -> tuple[Any, ...]:
        shown = {way: f"{line[-1].y:.0%}" for way, line in points.items() if line}
        return (
            panels.status(text, error=error),
            _chart(points),
            panels.numbers(shown),
            gr.update(value=archive[-1] if archive else None, interactive=bool(archive)),
            _commands(plan),
        )

    def work(folder: Path, stop: Stop) -> Iterator[tuple[Any, ...]]:
        yield show("Preparing …")
        plan.extend(_plan(most, own, pasted))
        for count, way, recipe in plan:
            out = folder.parent / "one"
            for event in session.perform(recipe, out, stop):
                if isinstance(event, Step):
                    yield show(f"{count} labels, {way}: step {event.step} of {event.total_steps}.")
                if isinstance(event, Sampled) and event.step:
                    accuracy = event.scores["accuracy"]
                    points[way].append(charts.Point(count, accuracy, accuracy, accuracy))
            if out.exists():
                shutil.rmtree(folder / way, ignore_errors=True)
                folder.mkdir(exist_ok=True)
                out.rename(folder / way)
            if stop.is_set():
                break
        if not folder.exists():
            yield show("Stopped before the first step: there is nothing to keep.")
            return
        archive.append(session.as_zip(folder, HOST.slug))
        yield show(_sentence(points, folder))

    async for shown in HOST.host(work, show, visit, request):
        yield shown


def _plan(most: int, file: str | None, text: str) -> list[tuple[int, str, Recipe]]:
    """The runs, in order: with how many labels, in which way, and the recipe.

    Raises:
        FtdemoError: If the visitor's examples cannot be used.
    """
    mine = own.settings(file, text, None)
    if "data" not in mine:
        return [
            (n, way, usual.with_settings({"examples": n})) for n in _COUNTS if n <= most for way, usual in WAYS.items()
        ]
    rows = len(load_splits(mine["data"], seed=0, examples=mine["examples"]).train)
    counts = sorted({max(rows // 4, 1), rows} if rows >= _WORTH_A_CURVE else {rows})
    settings = {"data": mine["data"]}
    return [(n, way, usual.with_settings({**settings, "examples": n})) for n in counts for way, usual in WAYS.items()]


def predict_cost(most: int, file: str | None, text: str) -> str:
    """How long a run would take here, as HTML."""
    try:
        return panels.expected(sum(session.expected(recipe) for _, _, recipe in _plan(most, file, text)))
    except FtdemoError as error:
        return panels.refusal(error)


def sort(said: str, visit: str, request: gr.Request) -> str:
    """Sort a message by the visitor's models, and show their verdicts as HTML.

    Args:
        said: The message.
        visit: The key of your visit, as training gave it.
        request: Tells visitors apart.
    """
    limits.refuse_long(said)
    folder = HOST.run_of(visit, request)
    verdicts = {way: session.sort(str(folder / way), said) for way in WAYS if (folder / way).exists()}
    return panels.numbers(verdicts)


def _chart(points: dict[str, list[charts.Point]]) -> str:
    shown = {way: line for way, line in points.items() if line}
    return charts.lines_chart(
        shown, "Unseen messages sorted right", x_label=f"labelled examples ({_STEPS} steps in each case)", log=True
    )


def _sentence(points: dict[str, list[charts.Point]], folder: Path) -> str:
    """What just happened, by the run's own numbers."""
    last = {way: line[-1] for way, line in points.items() if line}
    if len(last) < len(WAYS):
        return "Stopped early, or too few rows to hold some out. What was trained can be tried below."
    labels = int(max(point.x for point in last.values()))
    told = ", ".join(f"{way} {point.y:.0%}" for way, point in last.items())
    by_chance = 1 / len(Run.load(next(folder.iterdir())).labels)
    return f"Done. With up to {labels} labels: {told} sorted right. By chance it would be {by_chance:.0%}."


def _commands(plan: list[tuple[int, str, Recipe]]) -> str:
    last = plan[-len(WAYS) :] or [(_FIRST_COUNT, way, recipe) for way, recipe in WAYS.items()]
    return "\n".join(command(recipe.with_settings({"examples": count})) for count, _, recipe in last)


if __name__ == "__main__":
    build().launch(**theme.launch_settings())
