"""A demo that trains one model at a time while the visitor watches, keeps it, and lets the visitor talk to it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from ftdemo.data import load_splits
from ftdemo.errors import FtdemoError
from ftdemo.estimate.forecast import memory_here
from ftdemo.events import Finished, Sampled, Step
from ftdemo.models.catalog import CATALOG
from ftdemo.recipe import Recipe, named
from ftdemo.runs.run import Run
from ftdemo.training.hardware import pick_device
from ftdemo.ui import compute, limits, panels
from ftdemo.ui.demo import STOPPING, Demo, ended_with_a_sentence
from ftdemo.ui.job_queue import StopFile
from ftdemo.ui.run_view import RunView, shell_command
from ftdemo.ui.sessions import STOPPED_EARLY, Outputs

_MODELS = {name: CATALOG[name].label for name in ("tiny", "smollm2")}
_LARGER = {model.name: model.label for model in CATALOG.values() if model.source == "hub"}
"""Where there is a GPU."""


def models_for(device: str) -> dict[str, str]:
    """The models that can be chosen on a device, each with its label."""
    return _MODELS | (_LARGER if device == "cuda" else {})


MODEL_LABELS = models_for(pick_device("auto").type)
Finish = Callable[[Run, RunView, StopFile], Iterator[str]]
"""What a demo does with a finished run: it adds to the view, and yields a sentence on what it is doing."""


class TrainingDemo(Demo):
    """A demo of one run at a time, with a model that the visitor chooses."""

    def __init__(self, slug: str, recipes: Mapping[str, Recipe] | None = None, *, page: str = "") -> None:
        """Open a demo.

        Args:
            slug: The demo's name.
            recipes: The recipe of each choice, the first one first. Otherwise the choice is the model, and each
                model's recipe is the one named like the demo.
            page: The term that it shows, if its page has another name.
        """
        super().__init__(slug, outputs=7, page=page)
        self.recipes = dict(recipes or {model: named(slug, model) for model in MODEL_LABELS})
        self.first = next(iter(self.recipes))
        self._finish_seconds: dict[tuple[str, Finish | None], float] = {}

    async def train(
        self,
        model: str,
        settings: Mapping[str, Any],
        key: str,
        request: gr.Request | None,
        *,
        finish: Finish | None = None,
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Carry out a visitor's run and show it as it goes.

        Args:
            model: One of the models that can be chosen.
            settings: The visitor's settings, by the recipe's keys.
            key: The session's key; empty for a new session.
            request: Tells visitors apart.
            finish: What else is done when the run is finished.

        Returns:
            Whenever they change: status, loss chart, figures, the demo's own part and answers as HTML; the run's zip
            file, the command that repeats it, and the session's key.
        """
        view = RunView(shell_command(self.recipes[self.first]))

        def job(folder: Path, stop: StopFile) -> Iterator[Outputs]:
            """Carry out the run in this folder, and yield the outputs as they change."""
            recipe = self.recipe(model, settings)
            yield view.render("Preparing …")
            view.begin(recipe, *self._predict(recipe, finish))
            for event in compute.run_recipe(recipe, folder, stop):
                view.add(event)
                if isinstance(event, Step) and event.seconds > limits.current_limits().seconds:
                    stop.set()
                if not isinstance(event, Finished):
                    yield view.render(STOPPING if stop.is_set() else None)
            if not folder.exists():
                yield view.render(STOPPED_EARLY)
                return
            began = time.monotonic()
            for sentence in finish(Run.load(folder), view, stop) if finish else ():
                yield view.render(sentence)
            if not stop.is_set():
                self._finish_seconds[recipe.model, finish] = time.monotonic() - began
            view.keep(compute.zip_run(folder, self.slug))
            yield view.render()

        async for outputs in self.run_job(job, view.render, key, request):
            yield outputs

    def recipe(self, model: str, settings: Mapping[str, Any]) -> Recipe:
        """The recipe that a visitor has set.

        Raises:
            FtdemoError: If it is not possible, or exceeds this demo's limits.
        """
        if model not in self.recipes:
            raise FtdemoError(
                f"This demo has no model or task called {model[:80]}.", f"Choose one of: {', '.join(self.recipes)}."
            )
        return limits.bounded(self.recipes[model].with_settings(settings))

    def predict_cost(self, model: str, settings: Mapping[str, Any], finish: Finish | None = None) -> str:
        """How long a run would take here, as HTML."""
        try:
            recipe = self.recipe(model, settings)
            seconds, complete = self._predict(recipe, finish)
            return panels.cost_estimate(seconds, complete=complete, memory=memory_here(recipe))
        except FtdemoError as error:
            return panels.error_line(error)

    def _predict(self, recipe: Recipe, finish: Finish | None) -> tuple[float, bool]:
        """How many seconds a run should take, and whether that includes what the demo does after training.

        That takes as long as it took the last time; before the first time nobody knows.
        """
        done = (recipe.model, finish)
        seconds = compute.predicted_seconds(recipe) + self._finish_seconds.get(done, 0.0)
        return seconds, finish is None or done in self._finish_seconds

    def chat(
        self, message: str, history: list[dict[str, Any]], key: str, request: gr.Request
    ) -> Iterator[tuple[Any, ...]]:
        """Answer one message with the visitor's tuned model."""
        if not message.strip():
            yield gr.skip(), gr.skip()
            return
        limits.refuse_long(message)
        folder = self.run_folder(key, request)
        history = [*history, {"role": "user", "content": message}, {"role": "assistant", "content": "…"}]
        yield "", history
        answer = ""
        for piece in ended_with_a_sentence(compute.stream_answer(str(folder), message)):
            answer += piece
            yield "", [*history[:-1], {"role": "assistant", "content": answer.replace("\n", "  \n")}]

    def ask_both(self, question: str, key: str, request: gr.Request) -> Iterator[str]:
        """Ask the model before and after your training the same, and show both answers as HTML.

        Args:
            question: What to ask.
            key: Your session's key, as training gave it.
            request: Tells visitors apart.
        """
        limits.refuse_long(question)
        folder = self.run_folder(key, request)
        answers = {"before": "…", "after": "…"}
        for name in answers:
            answer = ""
            pieces = compute.stream_answer(str(folder), question, before=name == "before")
            for piece in ended_with_a_sentence(pieces):
                answer += piece
                yield panels.before_and_after(question, **(answers | {name: answer}))
            answers[name] = answer
        yield panels.before_and_after(question, **answers)

    def show_baseline(self, model: str) -> Iterator[tuple[str, str]]:
        """Load the model and show its answers before any training; a new model has none."""
        if self.recipes[model].weights != "random":
            loading = f"Loading the model {self.recipes[model].model} and asking it the questions below …"
            yield panels.status_line(loading), ""
        try:
            baseline = compute.baseline_events(self.recipes[model])
        except FtdemoError as error:
            yield panels.error_line(error), ""
            return
        sampled = next((event for event in baseline if isinstance(event, Sampled)), None)
        yield (
            panels.status_line("Ready. Press Train."),
            panels.sampled_answers(sampled, None, data=self.recipes[model].data),
        )

    def welcome(self, model: str, key: str, request: gr.Request) -> Iterator[tuple[Any, Any]]:
        """Show the baseline to a new visitor; a visitor who returns has the run instead."""
        if key and self.sessions.find(key, request):
            yield gr.skip(), gr.skip()
        else:
            yield from self.show_baseline(model)

    def example_count(self, model: str) -> int:
        """The number of examples in the model's data, in eights; generated data gives more on request."""
        rows = len(load_splits(self.recipes[model].data, seed=0).train)
        return rows - rows % 8

    def default_examples(self, model: str) -> int:
        """The number of examples that a model is trained on by default."""
        return self.recipes[model].examples or self.example_count(model)
