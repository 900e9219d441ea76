"""LoRA, live: choose a model and a rank, train it on a style, and talk to it before and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ftdemo import charts
from ftdemo.data import Turn, load_splits
from ftdemo.errors import FtdemoError
from ftdemo.events import Evaluated, Event, Finished, Sampled, Started, Step
from ftdemo.generate import stream_reply
from ftdemo.recipe import Recipe, named
from ftdemo.run import perform
from ftdemo.ui import panels, session, theme

SLUG = "lora"
TITLE = "LoRA: teach a model a voice by training two percent of it"
MODELS = {"tiny": "tiny, 3 million weights: seconds", "smollm2": "SmolLM2, 135 million: about a minute"}
DEFAULTS = {model: named("lora", model) for model in MODELS}
_FIRST = next(iter(MODELS))
_LEARNING_RATES = sorted({1e-3, 2e-3, 4e-3, 1e-2, 2e-2, *(recipe.lr for recipe in DEFAULTS.values())})
_SCORES = {"log": "answers that are a ship's log", "format": "answers in the shop's shape"}
"""The score that says whether the style was learned, for each data set that has one."""
_INTRO = """
# LoRA, live

A model's weights stay **frozen**. Beside each of its matrices a small pair of new ones is trained, until it answers in
another style. The small model of the house speaks of a harbour town, and learns to answer as a ship's log, with times.
SmolLM2 is a real chat model, and learns to answer letters like a shop's crew: three lines, `Sighted:`, `Course:`,
`Tide:`, in a voice of their own.
"""
_STOPPING = "Stopping. What was trained is kept, and asked the questions once more …"
_stops = session.Stops()


def build() -> gr.Blocks:
    """The demo, ready to launch or to mount."""
    first = DEFAULTS[_FIRST]
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600)) as demo:
        run_folder = gr.State(None, time_to_live=3600, delete_callback=session.forget)
        gr.Markdown(_INTRO, elem_classes="ft-lead")
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                choices = [(label, name) for name, label in MODELS.items()]
                model = gr.Radio(choices, value=_FIRST, label="Model", elem_id="model")
                rank = gr.Slider(1, 64, first.rank, step=1, label="Rank", info="Width of the two new matrices.")
                lr = gr.Dropdown(_LEARNING_RATES, value=first.lr, label="Learning rate", info="How far each step goes.")
                most = max(_rows(name) for name in MODELS)
                examples = gr.Slider(8, most, _some(_FIRST), step=8, label="Examples", info="How many to learn from.")
                with gr.Row():
                    train_button = gr.Button("Train", variant="primary", elem_id="train", min_width=120)
                    stop_button = gr.Button("Stop", elem_id="stop", min_width=120)
                status = gr.HTML(panels.status("Loading the model …"), elem_id="status")
            with gr.Column(scale=2, min_width=320):
                chart = gr.HTML(charts.loss_chart([]), elem_id="chart")
                numbers = gr.HTML(elem_id="numbers")
        gr.Markdown("## Questions the model has never seen")
        answers = gr.HTML(elem_id="answers")
        with gr.Row():
            download = gr.DownloadButton("Download adapter and run record", interactive=False, elem_id="download")
            command = gr.Code(_command(first), language="shell", label="Do this again in your shell", lines=1)
        gr.Markdown("## Talk to the tuned model\nEach message is answered on its own.")
        chatbot = gr.Chatbot(
            label="Chat", height=360, layout="bubble", buttons=["copy"], placeholder="Train first, then write here."
        )
        said = gr.Textbox(
            label="Your message", placeholder="How was the voyage to Merrin?", max_length=1000, submit_btn="Send"
        )

        panel = [status, chart, numbers, answers]
        demo.load(_greet, model, [status, answers], concurrency_limit=None, api_visibility="private")
        model.change(_choose, model, [lr, examples], api_visibility="private", show_progress="hidden").then(
            _greet, model, [status, answers], concurrency_limit=None, api_visibility="private", show_progress="hidden"
        )
        train_button.click(
            train,
            [model, rank, lr, examples, run_folder],
            [*panel, run_folder, download, command],
            api_name="train",
            concurrency_id=session.MODEL_QUEUE,
            concurrency_limit=1,
            show_progress="hidden",
        )
        stop_button.click(stop, None, status, api_name="stop", queue=False)
        said.submit(
            chat,
            [said, chatbot, run_folder],
            [said, chatbot],
            api_visibility="private",
            concurrency_id=session.MODEL_QUEUE,
            show_progress="hidden",
        )
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
    visitor = request.session_hash or "api"
    folder = session.new_run_folder(SLUG)
    view, kept = _View(DEFAULTS[model]), False
    try:
        recipe = DEFAULTS[model].with_settings({"rank": rank, "lr": lr, "examples": examples})
        view.command = _command(recipe)
        yield view.show()
        stopping = _stops.arm(visitor)
        for event in perform(recipe, folder, baseline=session.baseline(recipe), stop=stopping):
            view.add(event)
            if not isinstance(event, Finished):
                yield view.show(_STOPPING if stopping.is_set() else None)
        if not folder.exists():
            yield view.show("Stopped before the first step: there is nothing to keep.")
            return
        yield view.show(folder=str(folder), archive=session.as_zip(folder))
        session.forget(previous)
        kept = True
    except FtdemoError as error:
        yield view.show(f"{error.what} {error.remedy}", error=True)
        raise gr.Error(f"{error.what} {error.remedy}", print_exception=False) from None
    finally:
        _stops.disarm(visitor)
        if not kept:  # an error, or the visitor has left
            session.forget(str(folder))


def stop(request: gr.Request) -> Any:
    """Stop your run after the step in hand. What was trained is judged and kept."""
    if _stops.press(request.session_hash or "api"):
        return panels.status(_STOPPING)
    return gr.skip()


def chat(said: str, history: list[dict[str, Any]], folder: str | None) -> Iterator[tuple[Any, ...]]:
    """Answer one message with the visitor's tuned model."""
    if not said.strip():
        yield gr.skip(), gr.skip()
        return
    if folder is None:
        raise gr.Error("There is no tuned model yet. Press Train first.", print_exception=False)
    history = [*history, {"role": "user", "content": said}, {"role": "assistant", "content": "…"}]
    yield "", history
    reply = ""
    for piece in stream_reply(*session.tuned_model(folder), [Turn("user", said)]):
        reply += piece
        yield "", [*history[:-1], {"role": "assistant", "content": reply.replace("\n", "  \n")}]


def _rows(model: str) -> int:
    """How many examples the model's data has, in eights; generated data gives more when asked for more."""
    rows = len(load_splits(DEFAULTS[model].data, seed=0).train)
    return rows - rows % 8


def _some(model: str) -> int:
    """How many examples a model gets unasked."""
    return DEFAULTS[model].examples or _rows(model)


def _choose(model: str) -> tuple[float, int]:
    """The learning rate and the number of examples that suit the chosen model."""
    return DEFAULTS[model].lr, _some(model)


def _greet(model: str) -> Iterator[tuple[str, str]]:
    """Load the model and show what it answers before any training."""
    yield panels.status(f"Loading {model} and asking it the questions below …"), ""
    try:
        _, sampled = session.baseline(DEFAULTS[model])
    except FtdemoError as error:
        yield panels.status(f"{error.what} {error.remedy}", error=True), ""
        return
    assert isinstance(sampled, Sampled)
    yield panels.status("Ready. Press Train."), panels.answers(sampled, None)


def _command(recipe: Recipe) -> str:
    usual = DEFAULTS[recipe.model]
    changed = recipe.model_dump(exclude_unset=True).items()
    settings = [f" --set {key}={value}" for key, value in changed if value != getattr(usual, key)]
    model = "" if recipe.model == _FIRST else f" --set model={recipe.model}"
    return f"ftdemo train lora{model}" + "".join(settings)


def _scores(before: Sampled | None, after: Sampled | None) -> str:
    return charts.score_chart(before.scores, after.scores) if before and after else ""


class _View:
    """What the visitor sees of a run, redrawn from its events."""

    def __init__(self, recipe: Recipe) -> None:
        self._events: list[Event] = []
        self.command = _command(recipe)

    def add(self, event: Event) -> None:
        """Take in what happened."""
        self._events.append(event)

    def show(
        self, text: str | None = None, *, error: bool = False, folder: str | None = None, archive: str | None = None
    ) -> tuple[Any, ...]:
        """Status, chart, numbers, answers, run folder, download and command, in the order of the outputs."""
        samples = [event for event in self._events if isinstance(event, Sampled)]
        before = samples[0] if samples else None
        after = samples[1] if len(samples) > 1 else None
        return (
            panels.status(text or self._sentence(after), error=error),
            charts.loss_chart(self._events) + _scores(before, after),
            panels.numbers(self._numbers()),
            panels.answers(before, after, waiting="Training …") if before else gr.skip(),
            folder or gr.skip(),
            gr.update(value=archive, interactive=True) if archive else gr.update(interactive=False),
            self.command,
        )

    def _last(self, kind: type[Any]) -> Any:
        return next((event for event in reversed(self._events) if isinstance(event, kind)), None)

    def _sentence(self, after: Sampled | None) -> str:
        started, step, finished = self._last(Started), self._last(Step), self._last(Finished)
        if finished and after:
            before = next(event for event in self._events if isinstance(event, Sampled))
            moved = f"{started.trainable_parameters:,} of {started.total_parameters:,} weights moved"
            name = next(name for name in _SCORES if name in after.scores)
            score = f"{_SCORES[name]} went from {before.scores[name]:.0%} to {after.scores[name]:.0%}"
            done = "Stopped early" if finished.status == "stopped" else "Done"
            return f"{done}: {moved} in {finished.seconds:.0f} s, and {score}."
        if step is None:
            return "Preparing …"
        if step.step == step.total_steps:
            return "Trained. Asking the questions again …"
        left = step.seconds / step.step * (step.total_steps - step.step)
        return f"Step {step.step} of {step.total_steps}, about {left:.0f} s left."

    def _numbers(self) -> dict[str, str]:
        started, step, heldout = self._last(Started), self._last(Step), self._last(Evaluated)
        if started is None:
            return {}
        share = started.trainable_parameters / started.total_parameters
        shown = {
            "Trainable weights": f"{started.trainable_parameters:,} ({share:.1%})",
            "Adapter size": f"{started.adapter_bytes / 1e6:.1f} MB",
        }
        if step:
            shown |= {"Loss": f"{step.loss:.3f}", "Tokens a second": f"{step.tokens_per_second:.0f}"}
        if heldout:
            shown["Held-out loss"] = f"{heldout.loss:.3f}"
        return shown


if __name__ == "__main__":
    build().launch(**theme.launch_settings())
