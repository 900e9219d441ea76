"""What all demos have in common: a run carried out before the visitor's eyes, stopped, kept, and talked to.

A demo adds its own controls, and the one thing that only it can show.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from ftdemo import charts
from ftdemo.data import load_splits
from ftdemo.errors import FtdemoError
from ftdemo.estimate.forecast import memory_here
from ftdemo.events import Finished, Sampled, Step
from ftdemo.recipe import Recipe, named
from ftdemo.runs.run import Run
from ftdemo.training.hardware import pick_device
from ftdemo.ui import controls, limits, page_at, panels, session
from ftdemo.ui.view import View, command
from ftdemo.ui.visits import Shown, Stop, Visits, Work

_MODELS = {"tiny": "tiny, 3 million weights: seconds", "smollm2": "SmolLM2, 135 million: about a minute"}
_LARGER = {
    "HuggingFaceTB/SmolLM2-360M-Instruct": "SmolLM2, 360 million, from the Hub",
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": "SmolLM2, 1.7 billion, from the Hub",
}
"""Where there is a GPU: Apache-2.0, and with a chat template that ends each turn with the stop token."""


def models_for(device: str) -> dict[str, str]:
    """The models that can be chosen on a device, each with what is said of it."""
    return _MODELS | (_LARGER if device == "cuda" else {})


MODELS = models_for(pick_device("auto").type)
TAUGHT_TO_ANSWER = {model: named("full" if model == "tiny" else "lora", model) for model in MODELS}
"""How each model is taught to answer, where a demo is about something else than the method."""
ANSWERS: dict[str, Any] = {"concurrency_id": "answers", "concurrency_limit": 1, "show_progress": "hidden"}
"""How what asks a model is connected: one visitor is answered at a time, whether or not another one trains."""
FOLLOWS: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden"}
"""How what only looks on is connected."""
_STOPPING = "Stopping. What was trained is kept, and asked the questions once more …"
_MOST_QUEUED = 200
"""Requests of all visitors that may wait for an answer; whoever comes after them is told that it is full."""
NOTHING_YET = "There is no tuned model yet. Press Train first."


Finish = Callable[[Run, View, Stop], Iterator[str]]
"""What a demo does with a run that is over: it adds to the view, and says meanwhile what it does."""


class Host:
    """What a demo does for its visitors: each has a run of their own, which they may stop and come back to."""

    def __init__(self, slug: str, *, outputs: int, stopping: str = _STOPPING, page: str = "") -> None:
        """Open a demo.

        Args:
            slug: The demo's name.
            outputs: How many values it shows, the visit's key not counted.
            stopping: What is said when a visitor stops a run.
            page: The term that it shows, where its page has another name.
        """
        self.slug = slug
        self.page = page or slug
        self.stopping = stopping
        self.outputs = outputs
        self.visits = Visits()

    async def host(
        self, work: Work, show: Callable[..., Shown], key: str, request: gr.Request | None
    ) -> AsyncIterator[Shown]:
        """Carry out a visitor's work when their turn has come, and show it as it goes.

        Args:
            work: What is done in a folder, until it is over or the switch is set; it yields what is shown.
            show: What is shown of a sentence, or of an error with `error=True`.
            key: The visit's, or nothing for a new one.
            request: Tells visitors apart.

        Returns:
            What is shown, and the visit's key last.
        """
        visit = self.visits.enter(key, request)
        try:
            visit.begin(work, show, limits.address(request))
        except FtdemoError as error:
            raise gr.Error(f"{error.what} {error.remedy}", print_exception=False) from None
        async for shown in visit.follow():
            yield (*shown, visit.key)

    async def rejoin(self, key: str, request: gr.Request) -> AsyncIterator[Shown]:
        """After a reload: the run as it stands, and as it goes on."""
        visit = self.visits.find(key, request) if key else None
        if visit is None:
            yield (*[gr.skip()] * self.outputs, "")
            return
        visit = self.visits.enter(key, request)
        async for shown in visit.follow():
            yield (*shown, visit.key)

    def stop(self, key: str, request: gr.Request) -> Any:
        """Stop the run that you have begun after the step in hand. What was trained is judged and kept.

        Args:
            key: Your visit's key, as training gave it; may be empty.
            request: Tells visitors apart.
        """
        visit = self.visits.find(key, request)
        if visit is None or not visit.working or visit.stop.is_set():
            return gr.skip()
        visit.stop.set()
        return panels.status(self.stopping)

    def run_of(self, key: str, request: gr.Request | None) -> Path:
        """The folder of a visitor's last run.

        Raises:
            gradio.Error: If there is none.
        """
        visit = self.visits.find(key, request)
        if visit is None or visit.run is None:
            raise gr.Error(NOTHING_YET, print_exception=False)
        return visit.run


class Lab(Host):
    """A demo of one run at a time, by a model that the visitor chooses."""

    def __init__(self, slug: str, usual: Mapping[str, Recipe], *, page: str = "") -> None:
        """Open a laboratory.

        Args:
            slug: The demo's name.
            usual: The named recipe of each model, or whatever else can be chosen, the first one first.
            page: The term that it shows, where its page has another name.
        """
        super().__init__(slug, outputs=7, page=page)
        self.usual = dict(usual)
        self.first = next(iter(usual))
        self._afterwards: dict[tuple[str, Finish | None], float] = {}

    async def train(
        self,
        model: str,
        settings: Mapping[str, Any],
        key: str,
        request: gr.Request | None,
        *,
        finish: Finish | None = None,
    ) -> AsyncIterator[Shown]:
        """Carry out a visitor's run and show it as it goes.

        Args:
            model: One of the models that can be chosen.
            settings: What the visitor has set, by the recipe's keys.
            key: The visit's, or nothing for a new one.
            request: Tells visitors apart.
            finish: What else is done when the run is over.

        Returns:
            Time and again as it goes: status, loss chart, figures, what only this demo has and answers as HTML; the
            run's zip file, the command that repeats it, and the visit's key.
        """
        view = View(command(self.usual[self.first]))

        def work(folder: Path, stop: Stop) -> Iterator[Shown]:
            recipe = self.recipe(model, settings)
            yield view.show("Preparing …")
            view.begin(recipe, *self._expected(recipe, finish))
            for event in session.perform(recipe, folder, stop):
                view.add(event)
                if isinstance(event, Step) and event.seconds > limits.current().seconds:
                    stop.set()
                if not isinstance(event, Finished):
                    yield view.show(_STOPPING if stop.is_set() else None)
            if not folder.exists():
                yield view.show("Stopped before the first step: there is nothing to keep.")
                return
            began = time.monotonic()
            for text in finish(Run.load(folder), view, stop) if finish else ():
                yield view.show(text)
            if not stop.is_set():
                self._afterwards[recipe.model, finish] = time.monotonic() - began
            view.keep(session.as_zip(folder, self.slug))
            yield view.show()

        async for shown in self.host(work, view.show, key, request):
            yield shown

    def recipe(self, model: str, settings: Mapping[str, Any]) -> Recipe:
        """What a visitor asks for.

        Raises:
            FtdemoError: If it is not possible, or more than this demo gives.
        """
        if model not in self.usual:
            raise FtdemoError(
                f"This demo has no choice called {model[:80]}.", f"Choose one of: {', '.join(self.usual)}."
            )
        return limits.bounded(self.usual[model].with_settings(settings))

    def predict_cost(self, model: str, settings: Mapping[str, Any], finish: Finish | None = None) -> str:
        """How long a run would take here, as HTML."""
        try:
            recipe = self.recipe(model, settings)
            seconds, whole = self._expected(recipe, finish)
            return panels.expected(seconds, whole=whole, memory=memory_here(recipe))
        except FtdemoError as error:
            return panels.refusal(error)

    def _expected(self, recipe: Recipe, finish: Finish | None) -> tuple[float, bool]:
        """How many seconds a run should take, and whether all is counted that a demo does when training is over.

        That takes as long as it took the last time; before the first time nobody knows.
        """
        done = (recipe.model, finish)
        return session.expected(recipe) + self._afterwards.get(done, 0.0), finish is None or done in self._afterwards

    def chat(
        self, said: str, history: list[dict[str, Any]], key: str, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Answer one message with the visitor's tuned model."""
        if not said.strip():
            yield gr.skip(), gr.skip()
            return
        limits.refuse_long(said)
        folder = self.run_of(key, request)
        history = [*history, {"role": "user", "content": said}, {"role": "assistant", "content": "…"}]
        yield "", history
        reply = ""
        for piece in session.reply(str(folder), said):
            reply += piece
            yield "", [*history[:-1], {"role": "assistant", "content": reply.replace("\n", "  \n")}]

    def ask_both(self, said: str, key: str, request: gr.Request) -> Iterator[str]:
        """Ask the model before and after your training the same, and show both answers as HTML.

        Args:
            said: What to ask.
            key: Your visit's key, as training gave it.
            request: Tells visitors apart.
        """
        limits.refuse_long(said)
        folder = self.run_of(key, request)
        answers = {"before": "…", "after": "…"}
        for name in answers:
            reply = ""
            for piece in session.reply(str(folder), said, before=name == "before"):
                reply += piece
                yield panels.pair(said, **(answers | {name: reply}))
            answers[name] = reply
        yield panels.pair(said, **answers)

    def greet(self, model: str) -> Iterator[tuple[str, str]]:
        """Load the model and show what it answers before any training; a new model has nothing to say."""
        if self.usual[model].weights != "random":
            yield panels.status(f"Loading {self.usual[model].model} and asking it the questions below …"), ""
        try:
            known = session.baseline(self.usual[model])
        except FtdemoError as error:
            yield panels.refusal(error), ""
            return
        sampled = next((event for event in known if isinstance(event, Sampled)), None)
        yield panels.status("Ready. Press Train."), panels.answers(sampled, None)

    def welcome(self, model: str, key: str, request: gr.Request) -> Iterator[tuple[Any, Any]]:
        """Greet who comes for the first time; who comes back finds the run again."""
        if key and self.visits.find(key, request):
            yield gr.skip(), gr.skip()
        else:
            yield from self.greet(model)

    def rows(self, model: str) -> int:
        """How many examples the model's data has, in eights; generated data gives more when asked for more."""
        rows = len(load_splits(self.usual[model].data, seed=0).train)
        return rows - rows % 8

    def some(self, model: str) -> int:
        """How many examples a model gets unasked."""
        return self.usual[model].examples or self.rows(model)


class Workbench:
    """The parts of a demo's page that are the same in all of them. Each method places some where it is called."""

    def __init__(self, lab: Lab, intro: str) -> None:
        """Place the words that a demo begins with."""
        self._lab = lab
        self.key = place_key()
        place_intro(intro, lab)

    def choose_model(self) -> gr.Radio:
        """Place the choice of a model."""
        choices = [(MODELS[name], name) for name in self._lab.usual]
        return gr.Radio(choices, value=self._lab.first, label="Model", elem_id="model")

    def choose_examples(self) -> gr.Slider:
        """Place the choice of how many examples are learned from."""
        lab = self._lab
        most = max(lab.rows(name) for name in lab.usual)
        return gr.Slider(8, most, lab.some(lab.first), step=8, label="Examples", info="How many to learn from.")

    @contextmanager
    def controls(self, above_curve: Sequence[Any] = ()) -> Iterator[None]:
        """Place what is made within this on the left, above Train and Stop; the curve and the figures beside it.

        Args:
            above_curve: What else stands there, made without being placed.
        """
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                yield
                self._expected = gr.HTML(elem_id="expected")
                with gr.Row():
                    self._buttons = place_buttons()
                self._status = gr.HTML(panels.status("Loading the model …"), elem_id="status")
            with gr.Column(scale=2, min_width=320):
                for part in above_curve:
                    part.render()
                self._chart = gr.HTML(charts.loss_chart([]), elem_id="chart")
                self._numbers = gr.HTML(elem_id="numbers")
                self._more = gr.HTML(elem_id="more")

    def place_results(
        self,
        placeholder: str,
        *,
        asked: str = "Questions the model has never seen",
        talk: str = "## Talk to the tuned model\nEach message is answered on its own.",
    ) -> None:
        """Place the answers before and after, what can be taken away, and the talk.

        Args:
            placeholder: What a visitor might say to the model.
            asked: What the answers answer.
            talk: What stands above the talk.
        """
        lab = self._lab
        gr.Markdown(f"## {asked}")
        self._answers = gr.HTML(elem_id="answers")
        with gr.Row():
            self._download = gr.DownloadButton(
                "Download model, run record and notebook", interactive=False, elem_id="download"
            )
            usual = command(lab.usual[lab.first])
            self._command = gr.Code(usual, label="Do this again in your shell", lines=1, wrap_lines=True)
        gr.Markdown(talk)
        history = gr.Chatbot(
            label="Chat", height=360, layout="bubble", buttons=["copy"], placeholder="Train first, then write here."
        )
        said = gr.Textbox(label="Your message", placeholder=placeholder, max_length=1000, submit_btn="Send")
        said.submit(lab.chat, [said, history, self.key], [said, history], **ANSWERS, api_visibility="private")

    def place_both(self, placeholder: str) -> None:
        """Place a question to the model before and after training, and its two answers."""
        gr.Markdown("## Ask both\nThe same question, to the model as it was and as it is now.")
        said = gr.Textbox(label="Your question", placeholder=placeholder, max_length=1000, submit_btn="Ask")
        pair = gr.HTML(elem_id="both")
        said.submit(self._lab.ask_both, [said, self.key], pair, **ANSWERS, api_name=_name("ask", self._lab))

    def connect(
        self,
        demo: gr.Blocks,
        train: Callable[..., Any],
        model: gr.Radio | gr.State,
        settings: Sequence[Any],
        *,
        set_as: Callable[..., Mapping[str, Any]],
        finish: Callable[..., Finish] | None = None,
        choose: Callable[[str], Any] | None = None,
        chosen: Sequence[Any] = (),
    ) -> None:
        """Connect the parts.

        Args:
            demo: The page.
            train: The demo's own function. It is given the model, the settings and the visit's key.
            model: The choice of a model, or the only one there is.
            settings: The demo's own controls.
            set_as: What the controls' values are as keys of a recipe.
            finish: What the demo does by these values when the run is over, if it does anything.
            choose: Which settings suit a model, where there is a choice.
            chosen: The controls of those.
        """
        lab, greeted = self._lab, [self._status, self._answers]
        hidden: dict[str, Any] = {**FOLLOWS, "api_visibility": "private"}
        shown = [self._status, self._chart, self._numbers, self._more, self._answers]
        shown += [self._download, self._command, self.key]

        def predict_cost(model: str, *values: Any) -> str:
            return lab.predict_cost(model, set_as(*values), finish(*values) if finish else None)

        measured = {"fn": predict_cost, "inputs": [model, *settings], "outputs": self._expected, **hidden}
        back = come_back(demo, lab, self.key, shown, [model, *settings])
        back.then(lab.welcome, [model, self.key], greeted, **hidden).then(**measured)
        if choose:
            model.input(choose, model, list(chosen), **hidden).then(lab.greet, model, greeted, **hidden).then(
                **measured
            )
        gr.on([each.change for each in settings], trigger_mode="always_last", **measured)
        connect_buttons(lab, train, [model, *settings, self.key], shown, self._buttons)


def _name(verb: str, host: Host) -> str:
    """A function's name in the API: all demos may stand in one app."""
    return f"{verb}_{host.slug.replace('-', '_')}"


def connect_buttons(
    host: Host, train: Callable[..., Any], inputs: Sequence[Any], shown: Sequence[Any], buttons: tuple[Any, Any]
) -> None:
    """Connect Train and Stop.

    Args:
        host: The demo.
        train: Its own function.
        inputs: What it is given; the visit's key is the last.
        shown: What it gives; the status is the first.
        buttons: Train and Stop.
    """
    train_button, stop_button = buttons
    train_button.click(train, list(inputs), list(shown), **FOLLOWS, api_name=_name("train", host))
    stop_button.click(host.stop, inputs[-1], shown[0], api_name=_name("stop", host), queue=False)


def place_intro(text: str, host: Host) -> None:
    """Place the words that a demo begins with, and a link to the page that explains its term."""
    page = page_at(f"terms/{host.page}/")
    gr.Markdown(
        f"{text}\n[What it is, when to use it, and what was measured: the page]({page})", elem_classes="ft-lead"
    )


def place_key() -> gr.Textbox:
    """Place the key of the visit, which is not seen: by it a page that is loaded anew finds its run again."""
    return gr.Textbox("", visible="hidden", label="visit", elem_id="visit")


def come_back(demo: gr.Blocks, host: Host, key: gr.Textbox, shown: Sequence[Any], set_by: Sequence[Any]) -> Any:
    """When the page opens: find the run again that it showed before it was loaded anew, and what was set.

    The key is laid down when the page goes and taken up when it comes, so that a second page never has it too.
    """
    name = f"ftdemo-{host.slug}"
    take_up = f"""() => {{
        const key = sessionStorage.getItem("{name}") ?? ""
        sessionStorage.removeItem("{name}")
        window.ftVisit = key
        window.addEventListener("pagehide", () => window.ftVisit && sessionStorage.setItem("{name}", window.ftVisit))
        return [key]
    }}"""
    key.change(None, key, None, js="key => { if (key) window.ftVisit = key }")
    controls.keep(demo, host.slug, set_by)
    demo.unload(host.visits.leave)
    return demo.load(host.rejoin, key, list(shown), js=take_up, **FOLLOWS, api_visibility="private")


def place_buttons() -> tuple[gr.Button, gr.Button]:
    """Place Train and Stop."""
    train = gr.Button("Train", variant="primary", elem_id="train", min_width=120)
    return train, gr.Button("Stop", elem_id="stop", min_width=120)


def open_page(title: str) -> gr.Blocks:
    """An empty page of a demo."""
    page = gr.Blocks(title=title, analytics_enabled=False, delete_cache=(600, 3600))
    return page.queue(max_size=_MOST_QUEUED)
