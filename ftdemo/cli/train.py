"""`ftdemo train`: carries out a recipe and shows the progress."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftdemo.cli.recipe_options import RecipeCommand
from ftdemo.cli.terminal import (
    UserPath,
    events_until_stopped,
    first_few,
    name_or_path,
    new_folder,
    plain_console,
    print_json,
    stop_on_ctrl_c,
)
from ftdemo.errors import STOPPED_BY_CTRL_C, FtdemoError, UsageError, shell_line
from ftdemo.training import distributed

if TYPE_CHECKING:
    from ftdemo.events import Event, Finished, Started
    from ftdemo.recipe import Recipe
    from ftdemo.runs.run import Run


@click.command("train", cls=RecipeCommand)
@click.argument("what", metavar="NAME|RECIPE.yaml", type=name_or_path, required=False)
@click.option("--out", type=UserPath(), help="Folder for the run. Default: a new one in runs.")
@click.option("--resume", type=UserPath(), metavar="RUN", help="Continue a stopped run.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
@click.option("--show", is_flag=True, help="Print the recipe in full, without training.")
def train_command(
    what: str | None, out: Path | None, resume: Path | None, as_json: bool, show: bool, changes: dict[str, Any]
) -> None:
    """Train a model with a named recipe or a recipe file.

    Each method and each demo has a recipe of its own name, such as `lora` or `sft`. Each key of the recipe is also an
    option: `ftdemo train lora --rank 16`. ftdemo evaluates the model before and after training, and saves the run.
    Ctrl-C stops after the current step and saves the run, and `--resume RUN` continues it.
    """
    if resume is not None:
        if what or changes or out:
            raise UsageError("--resume continues a run with its own recipe.", "Name only the run's folder.")
        from ftdemo.runs.run import Run

        run = Run.load(resume)
        return _train(run.recipe, resume, as_json, run)
    if what is None:
        raise UsageError("No recipe is given.", "Name a recipe (`ftdemo train lora`), a file, or a run to --resume.")
    from ftdemo.recipe import recipe_of

    recipe = recipe_of(what, changes)
    if show:
        return click.echo(recipe.to_yaml(), nl=False)
    _train(recipe, out or new_folder(recipe.method), as_json)


def _train(recipe: Recipe, out: Path, as_json: bool, resume: Run | None = None) -> None:
    from ftdemo.runs.perform import perform

    display = _print_json if as_json else _draw
    report = display if distributed.is_main() else _keep_silent
    with stop_on_ctrl_c() as stop:
        try:
            with closing(events_until_stopped(perform(recipe, out, stop=stop, resume=resume), stop)) as events:
                report(events, out)
            distributed.leave()
        finally:
            if stop.is_set() and distributed.is_main() and not isinstance(sys.exception(), FtdemoError):
                click.echo(_what_is_saved(out), err=True)
    if stop.is_set():
        sys.exit(STOPPED_BY_CTRL_C)


def _what_is_saved(out: Path) -> str:
    from ftdemo.training import checkpoint

    if not out.exists():
        return "No step was taken, so nothing is saved."
    command = shell_line("ftdemo", "train", "--resume", str(out))
    resume = f" Continue it: {command}" if (out / checkpoint.FILE).exists() else ""
    return f"The run is saved in {out}.{resume}"


def _keep_silent(events: Iterator[Event], _out: Path) -> None:
    """Carry out a run without output: the main process prints it."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for _ in events:
        pass


def _print_json(events: Iterator[Event], out: Path) -> None:
    from ftdemo.events import to_dict

    for event in events:
        print_json(to_dict(event))
    if out.exists():
        print_json({"event": "saved", "folder": str(out)})


def _draw(events: Iterator[Event], out: Path) -> None:
    """Show a progress bar with loss, speed and time left; then scores and one answer, before and after."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ftdemo.events import Evaluated, Finished, Started, Step

    console = plain_console()
    finished: Finished | None = None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("reading data and model", total=None)
        for event in events:
            match event:
                case Started():
                    _print_started(event, progress.console.print)
                    progress.update(task, total=event.total_steps, description="answering held-out prompts")
                case Step():
                    speed = f"{event.tokens_per_second:.0f} tokens/s"
                    progress.update(task, completed=event.step, description=f"loss {event.loss:.3f}  {speed}")
                case Evaluated():
                    in_bits = f", {event.bits_per_byte:.3f} bits per byte" if event.bits_per_byte else ""
                    progress.console.print(f"  held-out loss after step {event.step}: {event.loss:.3f}{in_bits}")
                case Finished():
                    finished = event
    if finished:
        _print_finished(finished, out, console.print)


def _print_started(event: Started, echo: Callable[..., None]) -> None:
    share = event.trainable_parameters / event.total_parameters
    trained = f"{event.trained_tokens:,} trained tokens per epoch, " if event.trained_tokens else ""
    echo(f"{event.examples} examples, {trained}{event.total_steps} steps")
    echo(f"{event.trainable_parameters:,} of {event.total_parameters:,} parameters are trained ({share:.1%})")
    why = f" ({event.reasons['dtype']})" if "dtype" in event.reasons else ""
    echo(f"{event.device}, matrix products in {event.dtype}{why}, {event.attention} attention")
    if "lr" in event.reasons:
        echo(f"learning rate {event.lr:g}, {event.reasons['lr']}")
    for note in event.notes:
        echo(f"Note: {note}", style="yellow")
    if event.dropped_rows:
        dropped = first_few(event.dropped_rows)
        echo(f"dropped, because max_length leaves no token to train: examples {dropped}", style="yellow")
    if event.truncated_rows:
        echo(f"cut to max_length: examples {first_few(event.truncated_rows)}", style="yellow")
    if event.baselines:
        known = ", ".join(f"{name} {nats:.2f}" for name, nats in event.baselines.items())
        echo(f"for comparison, losses in nats per token: {known}")


def _print_finished(finished: Finished, out: Path, echo: Callable[..., None]) -> None:
    from rich.text import Text

    from ftdemo.runs.run import Run

    run = Run.load(out)
    speed = f"{finished.steps} steps in {finished.seconds:.0f} s, {finished.tokens_per_second:.0f} tokens/s"
    echo(f"{finished.status}: {speed}")
    before, after = run.samples()  # of a run that was resumed, too; and whatever was answered in between
    if before and after and after.answers:
        longest = max(map(len, after.scores), default=0)
        for name, value in after.scores.items():
            echo(f"  {name:<{longest}} {before.scores[name]:.2f} -> {value:.2f}")
        echo(f"\n{after.answers[0].prompt}", style="bold")
        for when, sample in (("before: ", before), ("after:  ", after)):
            echo(Text.assemble((when, "dim"), sample.answers[0].text))
        echo()
    click.echo("\n".join([f"Saved in {out}.", *_next_commands(run)]))


def _next_commands(run: Run) -> Iterator[str]:
    """What can be done with the run: a line for each shell command, ready to be copied."""
    from ftdemo.events import Started

    folder = str(run.folder)
    started = next(event for event in run.events if isinstance(event, Started))
    evaluate = shell_line("ftdemo", "evaluate", folder)
    if not started.heldout_examples and run.recipe.sample_prompts:  # the run's own data has nothing to evaluate on
        evaluate += " --data FILE"
    yield f"Evaluate it: {evaluate}"
    if not run.labels:
        yield f"Chat with it: {shell_line('ftdemo', 'chat', folder)}"
