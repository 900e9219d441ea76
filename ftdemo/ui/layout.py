"""The parts of a demo's page that are the same in all demos, and how they are connected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import gradio as gr

from ftdemo import charts
from ftdemo.ui import controls, page_at, panels
from ftdemo.ui.demo import ANSWERS, FOLLOWS, Demo
from ftdemo.ui.run_view import shell_command
from ftdemo.ui.training_demo import MODEL_LABELS, Finish, TrainingDemo

_MAX_QUEUED = 200
"""Requests of all visitors that may wait for an answer; any further one is refused."""
_QUEUE_CHECK_SECONDS = 0.05
"""How often Gradio checks its queue: too often for a visitor to notice the wait.

Gradio's default of 1 ms wakes an idle server a thousand times a second for each demo. Gradio has no setting for it; on
Windows it waits 0.05 s, too.
"""


class Layout:
    """The page of a training demo. Each method adds some parts where it is called."""

    def __init__(self, demo: TrainingDemo, intro: str) -> None:
        """Place the introduction."""
        self._demo = demo
        self.key = place_session_key()
        place_intro(intro, demo)

    def choose_model(self) -> gr.Radio:
        """Place the choice of a model."""
        choices = [(MODEL_LABELS[name], name) for name in self._demo.recipes]
        return gr.Radio(choices, value=self._demo.first, label="Model", elem_id="model")

    def choose_examples(self) -> gr.Slider:
        """Place the choice of the number of examples."""
        demo = self._demo
        most = max(demo.example_count(name) for name in demo.recipes)
        usual = demo.default_examples(demo.first)
        return gr.Slider(8, most, usual, step=8, label="Training examples", info="More examples take longer.")

    @contextmanager
    def controls(self, above_chart: Sequence[Any] = ()) -> Iterator[None]:
        """Place what is made within this on the left, above Train and Stop; the chart and the figures beside it.

        Args:
            above_chart: What else to place there, made without being rendered.
        """
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                yield
                self._cost = gr.HTML(elem_id="expected")
                with gr.Row():
                    self._buttons = place_buttons()
                self._status = gr.HTML(panels.status_line("Loading the model …"), elem_id="status")
            with gr.Column(scale=2, min_width=320):
                for part in above_chart:
                    part.render()
                self._chart = gr.HTML(charts.loss_chart([]), elem_id="chart")
                self._figures = gr.HTML(elem_id="numbers")
                self._extra = gr.HTML(elem_id="more")

    def place_results(
        self,
        placeholder: str,
        *,
        answers_title: str = "Answers to unseen messages",
        chat_title: str = "## Chat with the trained model\nThe model does not remember earlier messages.",
    ) -> None:
        """Place the answers before and after, the download, and the chat.

        Args:
            placeholder: A message that a visitor might send to the model.
            answers_title: The heading of the answers.
            chat_title: The heading of the chat, as Markdown.
        """
        demo = self._demo
        gr.Markdown(f"## {answers_title}")
        self._answers = gr.HTML(elem_id="answers")
        with gr.Row():
            self._download = gr.DownloadButton("Download this run", interactive=False, elem_id="download")
            usual = shell_command(demo.recipes[demo.first])
            self._command = gr.Code(usual, label="Command to repeat this run", lines=1, wrap_lines=True)
        gr.Markdown(chat_title)
        history = gr.Chatbot(
            label="Chat",
            height=360,
            layout="bubble",
            buttons=["copy"],
            placeholder="Train a model first, then write a message.",
        )
        message = gr.Textbox(label="Your message", placeholder=placeholder, max_length=1000, submit_btn="Send")
        message.submit(demo.chat, [message, history, self.key], [message, history], **ANSWERS, api_visibility="private")

    def place_both(self, placeholder: str) -> None:
        """Place a message to the model before and after training, and the two answers."""
        gr.Markdown(
            "## Compare before and after\nThe model before training and the trained model answer the same message."
        )
        question = gr.Textbox(label="Message for both", placeholder=placeholder, max_length=1000, submit_btn="Ask")
        answers = gr.HTML(elem_id="both")
        api_name = _api_name("ask", self._demo)
        question.submit(self._demo.ask_both, [question, self.key], answers, **ANSWERS, api_name=api_name)

    def connect(
        self,
        blocks: gr.Blocks,
        train: Callable[..., Any],
        model: gr.Radio | gr.State,
        settings: Sequence[Any],
        *,
        as_settings: Callable[..., Mapping[str, Any]],
        finish: Callable[..., Finish] | None = None,
        suggest: Callable[[str], Any] | None = None,
        suggested: Sequence[Any] = (),
    ) -> None:
        """Connect the parts.

        Args:
            blocks: The page.
            train: The demo's own function. It takes the model, the settings and the session's key.
            model: The choice of a model, or the only one there is.
            settings: The demo's own controls.
            as_settings: Turns the controls' values into settings of a recipe.
            finish: What the demo does by these values when the run is finished, if anything.
            suggest: The settings that suit a model, if there is a choice of models.
            suggested: The controls of those settings.
        """
        demo, baseline = self._demo, [self._status, self._answers]
        hidden: dict[str, Any] = {**FOLLOWS, "api_visibility": "private"}
        outputs = [self._status, self._chart, self._figures, self._extra, self._answers]
        outputs += [self._download, self._command, self.key]

        def predict_cost(model: str, *values: Any) -> str:
            """How long a run with these values would take here, as HTML."""
            return demo.predict_cost(model, as_settings(*values), finish(*values) if finish else None)

        cost = {"fn": predict_cost, "inputs": [model, *settings], "outputs": self._cost, **hidden}
        restored = restore_session(blocks, demo, self.key, outputs, [model, *settings])
        restored.then(demo.welcome, [model, self.key], baseline, **hidden).then(**cost)
        if suggest:
            chosen = model.input(suggest, model, list(suggested), **hidden)
            chosen.then(demo.show_baseline, model, baseline, **hidden).then(**cost)
        gr.on([each.change for each in settings], trigger_mode="always_last", **cost)
        connect_buttons(demo, train, [model, *settings, self.key], outputs, self._buttons)


def _api_name(verb: str, demo: Demo) -> str:
    """A function's name in the API, which has the demo's name because all demos may be in one app."""
    return f"{verb}_{demo.slug.replace('-', '_')}"


def connect_buttons(
    demo: Demo, train: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any], buttons: tuple[Any, Any]
) -> None:
    """Connect Train and Stop.

    Args:
        demo: The demo.
        train: Its own function.
        inputs: The inputs of `train`; the session's key is the last.
        outputs: The outputs of `train`; the status is the first.
        buttons: Train and Stop.
    """
    train_button, stop_button = buttons
    train_button.click(train, list(inputs), list(outputs), **FOLLOWS, api_name=_api_name("train", demo))
    stop_button.click(demo.stop, inputs[-1], outputs[0], api_name=_api_name("stop", demo), queue=False)


def place_intro(text: str, demo: Demo) -> None:
    """Place the introduction of a demo, and a link to the page that explains its term."""
    page = page_at(f"terms/{demo.page}/")
    gr.Markdown(f"{text}\n[Read what it is, when to use it and what we measured]({page})", elem_classes="ft-lead")


def place_session_key() -> gr.Textbox:
    """Place the session's key, which is not visible: with it a reloaded page finds its run again."""
    return gr.Textbox("", visible="hidden", label="session", elem_id="session")


def restore_session(
    blocks: gr.Blocks, demo: Demo, key: gr.Textbox, outputs: Sequence[Any], settings: Sequence[Any]
) -> Any:
    """When the page opens: find the run and the settings that it showed before it was reloaded.

    The page stores the key when it closes and removes it when it opens, so that a second tab never has it too.
    (`gr.BrowserState` keeps its value in `localStorage`, which all tabs share, and where it outlives the visitor.)
    """
    name = f"ftdemo-{demo.slug}"
    take_key = f"""() => {{
        const key = sessionStorage.getItem("{name}") ?? ""
        sessionStorage.removeItem("{name}")
        window.ftSession = key
        window.addEventListener("pagehide", () => {{
            if (window.ftSession) sessionStorage.setItem("{name}", window.ftSession)
        }})
        return [key]
    }}"""
    key.change(None, key, None, js="key => { if (key) window.ftSession = key }")
    controls.keep_values(blocks, demo.slug, settings)
    blocks.unload(demo.sessions.leave)
    return blocks.load(demo.resume, key, list(outputs), js=take_key, **FOLLOWS, api_visibility="private")


def place_buttons() -> tuple[gr.Button, gr.Button]:
    """Place Train and Stop."""
    train = gr.Button("Train", variant="primary", elem_id="train", min_width=120)
    return train, gr.Button("Stop", elem_id="stop", min_width=120)


def open_page(title: str) -> gr.Blocks:
    """An empty page of a demo, which hardly computes anything while nobody is connected."""
    page = gr.Blocks(title=title, analytics_enabled=False, delete_cache=(600, 3600)).queue(max_size=_MAX_QUEUED)
    page._queue.sleep_when_free = page._queue.progress_update_sleep_when_free = _QUEUE_CHECK_SECONDS
    return page
