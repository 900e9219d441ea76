"""What all demos have in common: a run carried out before the visitor's eyes, stopped, kept, and talked to.

A demo adds its own controls, and the one thing that only it can show.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio as gr

from ftdemo import charts
from ftdemo.data import load_splits
from ftdemo.errors import FtdemoError
from ftdemo.events import Evaluated, Event, Finished, Sampled, Started, Step
from ftdemo.recipe import NAMED, Recipe, named
from ftdemo.run import Run, perform
from ftdemo.ui import panels, session

MODELS = {"tiny": "tiny, 3 million weights: seconds", "smollm2": "SmolLM2, 135 million: about a minute"}
TAUGHT_TO_ANSWER = {"tiny": named("full", "tiny"), "smollm2": named("lora", "smollm2")}
"""How each model is taught to answer, where a demo is about something else than the method."""
COMPUTES: dict[str, Any] = {"concurrency_id": session.MODEL_QUEUE, "show_progress": "hidden"}
"""How a button is connected behind which a model computes."""
_SCORES = {
    "log": "answers that are a ship's log",
    "format": "answers in the shop's shape",
    "told": "stories that go on to tell of both things",
}
"""The score that says whether the new skill was learned, for each data set that has one."""
_OPERATIONS = 6
"""Of one weight for one token of training, forward and backward (Kaplan et al. 2020, section 2.1)."""
_STOPPING = "Stopping. What was trained is kept, and asked the questions once more …"


class Visits:
    """What a demo does for its visitors: each has a run of their own, in a folder of its own, which they may stop."""

    def __init__(self, slug: str, stopping: str = _STOPPING) -> None:
        """Open a demo.

        Args:
            slug: The demo's name.
            stopping: What is said when a visitor stops a run.
        """
        self._slug = slug
        self._stopping = stopping
        self._stops = session.Stops()

    def host(
        self,
        work: Callable[[Path, threading.Event], Iterator[tuple[Any, ...]]],
        refuse: Callable[[str], tuple[Any, ...]],
        previous: str | None,
        request: gr.Request,
    ) -> Iterator[tuple[Any, ...]]:
        """Carry out a visitor's work, and keep what it leaves in its folder, unless it fails or the visitor goes away.

        Args:
            work: What is done in a folder, until it is over or the switch is set; it yields what is shown.
            refuse: What is shown of an error.
            previous: The folder of the visitor's work before this, if there is one. It goes once this is done.
            request: Tells visitors apart.
        """
        visitor = request.session_hash or "api"
        folder, kept = session.new_run_folder(self._slug), False
        try:
            yield from work(folder, self._stops.arm(visitor))
            kept = folder.exists()
            if kept:
                session.forget(previous)
        except FtdemoError as error:
            told = f"{error.what} {error.remedy}"
            yield refuse(told)
            raise gr.Error(told, print_exception=False) from None
        finally:
            self._stops.disarm(visitor)
            if not kept:
                session.forget(str(folder))

    def stop(self, request: gr.Request) -> Any:
        """Stop what you have begun after the step in hand. What was trained is judged and kept."""
        if self._stops.press(request.session_hash or "api"):
            return panels.status(self._stopping)
        return gr.skip()


class Lab(Visits):
    """A demo of one run at a time, by a model that the visitor chooses."""

    def __init__(self, slug: str, usual: Mapping[str, Recipe]) -> None:
        """Open a laboratory.

        Args:
            slug: The demo's name.
            usual: The named recipe of each model that can be chosen, the first one first.
        """
        super().__init__(slug)
        self.usual = dict(usual)
        self.first = next(iter(usual))

    def train(
        self,
        model: str,
        settings: Mapping[str, Any],
        previous: str | None,
        request: gr.Request,
        *,
        judge: Callable[[Run], tuple[str, dict[str, str]]] | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """Carry out a visitor's run and show it as it goes.

        Args:
            model: One of the models that can be chosen.
            settings: What the visitor has set, by the recipe's keys.
            previous: The folder of the visitor's run before this one, if there is one.
            request: Tells visitors apart.
            judge: What else is measured when the run is over: a sentence, and figures under their names.

        Returns:
            Time and again as it goes: status, loss chart, figures and answers as HTML; the run's folder, its zip file
            and the command that repeats it.
        """
        view = View(command(self.usual[self.first]))

        def work(folder: Path, stopping: threading.Event) -> Iterator[tuple[Any, ...]]:
            recipe = self.usual[model].with_settings(settings)
            view.command = command(recipe)
            yield view.show()
            for event in perform(recipe, folder, baseline=session.baseline(recipe), stop=stopping):
                view.add(event)
                if not isinstance(event, Finished):
                    yield view.show(_STOPPING if stopping.is_set() else None)
            if not folder.exists():
                yield view.show("Stopped before the first step: there is nothing to keep.")
                return
            if judge:
                yield view.show("Trained. Asking for what it could do before …")
                view.judge(*judge(Run.load(folder)))
            yield view.show(folder=str(folder), archive=session.as_zip(folder))

        yield from self.host(work, lambda told: view.show(told, error=True), previous, request)

    def chat(self, said: str, history: list[dict[str, Any]], folder: str | None) -> Iterator[tuple[Any, ...]]:
        """Answer one message with the visitor's tuned model."""
        if not said.strip():
            yield gr.skip(), gr.skip()
            return
        if folder is None:
            raise gr.Error("There is no tuned model yet. Press Train first.", print_exception=False)
        history = [*history, {"role": "user", "content": said}, {"role": "assistant", "content": "…"}]
        yield "", history
        reply = ""
        for piece in session.reply(folder, said):
            reply += piece
            yield "", [*history[:-1], {"role": "assistant", "content": reply.replace("\n", "  \n")}]

    def ask_both(self, said: str, folder: str | None) -> Iterator[str]:
        """Ask the model before and after your training the same, and show both answers as HTML.

        Args:
            said: What to ask.
            folder: The folder of the visitor's run.
        """
        if folder is None:
            raise gr.Error("There is no tuned model yet. Press Train first.", print_exception=False)
        answers = {"before": "…", "after": "…"}
        for name in answers:
            reply = ""
            for piece in session.reply(folder, said, before=name == "before"):
                reply += piece
                yield panels.pair(said, **(answers | {name: reply}))
            answers[name] = reply
        yield panels.pair(said, **answers)

    def greet(self, model: str) -> Iterator[tuple[str, str]]:
        """Load the model and show what it answers before any training; a new model has nothing to say."""
        if self.usual[model].weights != "random":
            yield panels.status(f"Loading {model} and asking it the questions below …"), ""
        try:
            known = session.baseline(self.usual[model])
        except FtdemoError as error:
            yield panels.status(f"{error.what} {error.remedy}", error=True), ""
            return
        sampled = next((event for event in known if isinstance(event, Sampled)), None)
        yield panels.status("Ready. Press Train."), panels.answers(sampled, None)

    def rows(self, model: str) -> int:
        """How many examples the model's data has, in eights; generated data gives more when asked for more."""
        rows = len(load_splits(self.usual[model].data, seed=0).train)
        return rows - rows % 8

    def some(self, model: str) -> int:
        """How many examples a model gets unasked."""
        return self.usual[model].examples or self.rows(model)


def command(recipe: Recipe) -> str:
    """What carries a recipe out in a shell."""
    usual = named(recipe.method, recipe.model)
    changed = recipe.model_dump(exclude_unset=True).items()
    settings = [f" --set {key}={_in_shell(key, value)}" for key, value in changed if value != getattr(usual, key)]
    model = "" if recipe.model == NAMED[recipe.method].model else f" --set model={recipe.model}"
    return f"ftdemo train {recipe.method}{model}" + "".join(settings)


def _in_shell(key: str, value: Any) -> str:
    """A setting's value as it is written in a shell; of a visitor's file the name alone."""
    return Path(value).name if key == "data" else json.dumps(value).strip('"')


class Workbench:
    """The parts of a demo's page that are the same in all of them. Each method places some where it is called."""

    def __init__(self, lab: Lab, intro: str) -> None:
        """Place the words that a demo begins with."""
        self._lab = lab
        self._folder = gr.State(None, time_to_live=3600, delete_callback=session.forget)
        gr.Markdown(intro, elem_classes="ft-lead")

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
                with gr.Row():
                    self._train, self._stop = place_buttons()
                self._status = gr.HTML(panels.status("Loading the model …"), elem_id="status")
            with gr.Column(scale=2, min_width=320):
                for part in above_curve:
                    part.render()
                self._chart = gr.HTML(charts.loss_chart([]), elem_id="chart")
                self._numbers = gr.HTML(elem_id="numbers")

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
            self._download = gr.DownloadButton("Download model and run record", interactive=False, elem_id="download")
            usual = command(lab.usual[lab.first])
            self._command = gr.Code(usual, language="shell", label="Do this again in your shell", lines=1)
        gr.Markdown(talk)
        history = gr.Chatbot(
            label="Chat", height=360, layout="bubble", buttons=["copy"], placeholder="Train first, then write here."
        )
        said = gr.Textbox(label="Your message", placeholder=placeholder, max_length=1000, submit_btn="Send")
        said.submit(lab.chat, [said, history, self._folder], [said, history], **COMPUTES, api_visibility="private")

    def place_both(self, placeholder: str) -> None:
        """Place a question to the model before and after training, and its two answers."""
        gr.Markdown("## Ask both\nThe same question, to the model as it was and as it is now.")
        said = gr.Textbox(label="Your question", placeholder=placeholder, max_length=1000, submit_btn="Ask")
        pair = gr.HTML(elem_id="both")
        said.submit(self._lab.ask_both, [said, self._folder], pair, **COMPUTES, api_visibility="private")

    def connect(
        self,
        demo: gr.Blocks,
        train: Callable[..., Any],
        model: gr.Radio | gr.State,
        settings: Sequence[Any],
        *,
        choose: Callable[[str], Any] | None = None,
        chosen: Sequence[Any] = (),
    ) -> None:
        """Connect the parts.

        Args:
            demo: The page.
            train: The demo's own function. It is given the model, the settings and the visitor's last run.
            model: The choice of a model, or the only one there is.
            settings: The demo's own controls.
            choose: Which settings suit a model, where there is a choice.
            chosen: The controls of those.
        """
        greeted = [self._status, self._answers]
        hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        demo.load(self._lab.greet, model, greeted, concurrency_limit=None, api_visibility="private")
        if choose:
            model.change(choose, model, list(chosen), **hidden).then(
                self._lab.greet, model, greeted, concurrency_limit=None, **hidden
            )
        self._train.click(
            train,
            [model, *settings, self._folder],
            [self._status, self._chart, self._numbers, self._answers, self._folder, self._download, self._command],
            **COMPUTES,
            api_name="train",
            concurrency_limit=1,
        )
        self._stop.click(self._lab.stop, None, self._status, api_name="stop", queue=False)


def place_buttons() -> tuple[gr.Button, gr.Button]:
    """Place Train and Stop."""
    train = gr.Button("Train", variant="primary", elem_id="train", min_width=120)
    return train, gr.Button("Stop", elem_id="stop", min_width=120)


def open_page(title: str) -> gr.Blocks:
    """An empty page of a demo."""
    return gr.Blocks(title=title, analytics_enabled=False, delete_cache=(3600, 3600))


class View:
    """What the visitor sees of a run, redrawn from its events."""

    def __init__(self, command: str) -> None:
        self._events: list[Event] = []
        self._judged: tuple[str, dict[str, str]] = ("", {})
        self.command = command

    def add(self, event: Event) -> None:
        """Take in what happened."""
        self._events.append(event)

    def judge(self, sentence: str, figures: dict[str, str]) -> None:
        """Take in what was measured when the run was over."""
        self._judged = sentence, figures

    def show(
        self, text: str | None = None, *, error: bool = False, folder: str | None = None, archive: str | None = None
    ) -> tuple[Any, ...]:
        """Status, chart, numbers, answers, run folder, download and command, in the order of the outputs."""
        samples = [event for event in self._events if isinstance(event, Sampled)]
        before = samples[0] if samples else None
        after = samples[-1] if len(samples) > 1 else None
        return (
            panels.status(text or self._sentence(before, after), error=error),
            charts.loss_chart(self._events) + self._scores(before, after),
            panels.numbers(self._numbers()),
            panels.answers(before, after, waiting="Training …") if before else gr.skip(),
            folder or gr.skip(),
            gr.update(value=archive, interactive=True) if archive else gr.update(interactive=False),
            self.command,
        )

    def _last(self, kind: type[Any]) -> Any:
        return next((event for event in reversed(self._events) if isinstance(event, kind)), None)

    def _sentence(self, before: Sampled | None, after: Sampled | None) -> str:
        started, step, finished = self._last(Started), self._last(Step), self._last(Finished)
        if finished:
            moved = f"{started.trainable_parameters:,} of {started.total_parameters:,} weights moved"
            done = "Stopped early" if finished.status == "stopped" else "Done"
            gain = f", and {self._gain(before, after)}" if before and after else ""  # few rows: none was held out
            return f"{done}: {moved} in {finished.seconds:.0f} s{gain}. {self._judged[0]}"
        if step is None:
            return "Preparing …"
        if step.step == step.total_steps:
            return "Trained. Asking the questions again …"
        left = step.seconds / step.step * (step.total_steps - step.step)
        return f"Step {step.step} of {step.total_steps}, about {left:.0f} s left."

    def _scores(self, before: Sampled | None, after: Sampled | None) -> str:
        """Scores before and after; of a new model there are none that a few prompts could tell."""
        started = self._last(Started)
        if before is None or after is None or started.baselines:
            return ""
        return charts.score_chart(before.scores, after.scores)

    def _gain(self, before: Sampled, after: Sampled) -> str:
        """What came of it, in words: of the score that the data set has for it, or of the loss."""
        for name, words in _SCORES.items():
            if name in after.scores:
                return f"{words} went from {before.scores[name]:.0%} to {after.scores[name]:.0%}"
        first, *_, last = (event.loss for event in self._events if isinstance(event, Evaluated))
        return f"the loss on rows it has not seen went from {first:.2f} to {last:.2f} nats a token"

    def _numbers(self) -> dict[str, str]:
        started, step, heldout = self._last(Started), self._last(Step), self._last(Evaluated)
        if started is None:
            return {}
        share = started.trainable_parameters / started.total_parameters
        shown = {
            "Trainable weights": f"{started.trainable_parameters:,} ({share:.1%})",
            "File to keep": f"{started.adapter_bytes / 1e6:.1f} MB",
        }
        if started.baselines:  # a new model: there is nothing small about what moves
            read = step.tokens if step else 0
            operations = _OPERATIONS * started.total_parameters * read
            shown = {"Weights": f"{started.total_parameters:,}", "Tokens read": f"{read:,}"}
            shown["Operations, about"] = f"{operations / 1e12:.1f} trillion"
        if step:
            shown |= {"Loss": f"{step.loss:.3f}", "Tokens a second": f"{step.tokens_per_second:.0f}"}
        if heldout:
            shown["Held-out loss"] = f"{heldout.loss:.3f}"
        return shown | self._judged[1]
