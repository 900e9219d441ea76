"""What a demo shows of a run: drawn again from its events, with a plain sentence that reports what happened."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Any

import gradio as gr

from ftdemo import charts
from ftdemo.events import Evaluated, Event, Finished, Sampled, Started, Step
from ftdemo.recipe import NAMED, Recipe, named
from ftdemo.ui import panels
from ftdemo.ui.verdicts import verdict_of

_DIRECTIONS = 24
_OPERATIONS = 6
"""Of one weight for one token of training, forward and backward (Kaplan et al. 2020, section 2.1)."""


def shell_command(recipe: Recipe) -> str:
    """The shell command that carries a recipe out."""
    usual = named(recipe.method, recipe.model)
    changed = recipe.model_dump(exclude_unset=True).items()
    settings = {key: value for key, value in changed if value != getattr(usual, key)}
    if recipe.model != NAMED[recipe.method].model:
        settings = {"model": recipe.model, **settings}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={_as_setting(key, value)}")]
    return shlex.join(["ftdemo", "train", recipe.method, *words])


def _as_setting(key: str, value: Any) -> str:
    """A setting's value as the option ``--set`` reads it; of a visitor's file the name alone."""
    if isinstance(value, str):  # not JSON: a text is taken as it is written
        return Path(value).name if key == "data" else value
    return ",".join(value) if isinstance(value, tuple) else json.dumps(value)


def spectrum_chart(spectra: dict[str, dict[str, Any]]) -> str:
    """The singular values of updates, largest first, each as a share of the largest: how many directions count.

    Args:
        spectra: The result of `run_metrics.spectrum` for each method, by its name.
    """
    lines = {}
    for name, spectrum in spectra.items():
        matrices = [kind["values"] for kind in spectrum.get("matrices", {}).values()]
        means = [sum(values) / len(values) for values in zip(*matrices, strict=False)][:_DIRECTIONS]
        lines[name] = [charts.Point(place, mean, mean, mean) for place, mean in enumerate(means, 1)]
    lines = {name: line for name, line in lines.items() if line}
    if not lines:
        return ""
    return charts.lines_chart(
        lines, "Singular values of the update (largest = 1)", x_label="singular values, largest first"
    )


class RunView:
    """What the visitor sees of a run, drawn again from its events."""

    def __init__(self, command: str) -> None:
        self._events: list[Event] = []
        self._result: tuple[str, dict[str, str]] = ("", {})
        self._began = self._ended = time.monotonic()
        self._predicted_seconds: float | None = None
        self._is_complete = True
        self._archive: str | None = None
        self._extra = self._data = ""
        self.command = command

    def begin(self, recipe: Recipe, predicted_seconds: float | None, complete: bool = True) -> None:
        """Start to measure the time of a run.

        Args:
            recipe: The run's recipe.
            predicted_seconds: How long it should take, if that is known.
            complete: Whether that includes what the demo measures after training.
        """
        self.command, self._data = shell_command(recipe), recipe.data
        self._began, self._predicted_seconds, self._is_complete = time.monotonic(), predicted_seconds, complete

    def add(self, event: Event) -> None:
        """Add an event of the run."""
        self._events.append(event)
        self._ended = time.monotonic()

    def add_result(self, sentence: str, figures: dict[str, str]) -> None:
        """Add what was measured after the run."""
        self._result = sentence, figures

    def add_html(self, html: str) -> None:
        """Show the demo's own part, below the figures."""
        self._extra = html

    def keep(self, archive: str) -> None:
        """Offer the saved run as a file to download."""
        self._archive = archive
        if self._is_complete:
            self._ended = time.monotonic()

    def render(self, text: str | None = None, *, error: bool = False) -> tuple[Any, ...]:
        """Status, chart, figures, the demo's own part, answers, download and command, in the order of the outputs.

        Args:
            text: The status, instead of the run's own.
            error: Whether that is an error.
        """
        samples = [event for event in self._events if isinstance(event, Sampled)]
        before = samples[0] if samples else None
        after = samples[-1] if len(samples) > 1 else None
        return (
            panels.status_line(text or self._sentence(before, after), error=error),
            charts.loss_chart(self._events) + self._score_chart(before, after),
            panels.figures(self._figures()),
            self._extra,
            panels.sampled_answers(before, after, "Training …", data=self._data) if before else gr.skip(),
            gr.update(value=self._archive, interactive=self._archive is not None),
            self.command,
        )

    def _last(self, kind: type[Any]) -> Any:
        return next((event for event in reversed(self._events) if isinstance(event, kind)), None)

    def _sentence(self, before: Sampled | None, after: Sampled | None) -> str:
        started, step, finished = self._last(Started), self._last(Step), self._last(Finished)
        if finished:
            trained = f"{started.trainable_parameters:,} of {started.total_parameters:,} weights trained"
            done = "Stopped early" if finished.status == "stopped" else "Done"
            gain = f" {self._gain(before, after)}." if before and after else ""  # few rows: none was held out
            return f"{done}: {trained} in {finished.seconds:.0f} s.{gain} {self._result[0]} {self._prediction()}"
        if step is None:
            return "Preparing …"
        if step.step == step.total_steps:
            return "Training is done. Asking the questions again …"
        left = step.seconds / step.step * (step.total_steps - step.step)
        return f"Step {step.step} of {step.total_steps}, about {left:.0f} s left."

    def _prediction(self) -> str:
        """How good the prediction of the time was."""
        if self._predicted_seconds is None or self._last(Finished).status == "stopped":
            return ""
        took = self._ended - self._began
        counted = "evaluation and tests" if self._is_complete else "the evaluation"
        return f"Including {counted}, it took {took:.0f} s; the estimate was {self._predicted_seconds:.0f} s."

    def _score_chart(self, before: Sampled | None, after: Sampled | None) -> str:
        """Scores before and after; a few prompts measure none of a new model."""
        started = self._last(Started)
        if before is None or after is None or started.baselines:
            return ""
        return charts.score_chart(before.scores, after.scores)

    def _gain(self, before: Sampled, after: Sampled) -> str:
        """The change in words: how many answers are correct, or, where nobody can check them, the loss."""
        correct = [
            [verdict_of(answer, self._data).correct for answer in sampled.answers] for sampled in (before, after)
        ]
        if all(each and None not in each for each in correct):
            was, now = (f"{sum(map(bool, each))} of {len(each)}" for each in correct)
            return f"Correct answers: {was} before training, {now} after"
        first, *_, last = (event.loss for event in self._events if isinstance(event, Evaluated))
        return f"Held-out loss: {first:.2f} nats per token before training, {last:.2f} after"

    def _figures(self) -> dict[str, str]:
        started, step, heldout = self._last(Started), self._last(Step), self._last(Evaluated)
        if started is None:
            return {}
        share = started.trainable_parameters / started.total_parameters
        figures = {
            "Trained weights": f"{started.trainable_parameters:,} ({share:.1%})",
            "Saved file (MB)": f"{started.adapter_bytes / 1e6:.1f}",
        }
        if started.baselines:  # a new model: all its weights are trained
            read = step.tokens if step else 0
            operations = _OPERATIONS * started.total_parameters * read
            figures = {"Weights": f"{started.total_parameters:,}", "Tokens read": f"{read:,}"}
            figures["Operations (trillion)"] = f"about {operations / 1e12:.1f}"
        if step:
            figures |= {
                "Training loss (nats)": f"{step.loss:.3f}",
                "Tokens per second": f"{step.tokens_per_second:.0f}",
            }
        if heldout:
            figures["Held-out loss (nats)"] = f"{heldout.loss:.3f}"
        return figures | self._result[1]
