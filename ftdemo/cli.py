"""The shell: `ftdemo train`, `chat`, `demo`, `serve` and `doctor`. It parses, draws and reports; it decides nothing."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftdemo import __version__
from ftdemo.errors import FtdemoError, UsageError

if TYPE_CHECKING:
    from ftdemo.events import Event, Finished, Sampled
    from ftdemo.recipe import Recipe

_STOPPED_BY_CTRL_C = 130
HOST, PORT = "127.0.0.1", 7860


class _Commands(click.Group):
    """Turns every error that the user can mend into two lines and an exit code."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command; end with the error's exit code where it has one."""
        try:
            return super().invoke(context)
        except FtdemoError as error:
            click.echo(f"{click.style('Error:', fg='red', bold=True)} {error.what}\n{error.remedy}", err=True)
            context.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
            context.exit(_STOPPED_BY_CTRL_C)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ftdemo")
def main() -> None:
    """Train a small model, see what changes, and talk to it."""


@main.command()
@click.argument("what", metavar="lora|RECIPE.yaml")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change a key of the recipe. Repeatable.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the run. Default: runs/<method>-<time>.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
@click.option("--show", is_flag=True, help="Print the recipe in full and stop.")
def train(what: str, settings: tuple[str, ...], out: Path | None, as_json: bool, show: bool) -> None:
    """Train by a named recipe or a recipe file, judge before and after, and keep the run.

    Ctrl-C ends the training after the step in hand; what was trained is judged and kept.
    """
    recipe = _recipe(what, settings)
    if show:
        click.echo(recipe.to_yaml(), nl=False)
        return
    out = out or Path("runs") / f"{recipe.method}-{datetime.now():%Y%m%d-%H%M%S}"
    from ftdemo.run import perform

    report = _print_json if as_json else _draw
    with _ctrl_c_sets() as stop:
        try:
            report(perform(recipe, out, stop=stop), out)
        finally:
            if stop.is_set():
                kept = f"What was trained is kept in {out}." if out.exists() else "No step was taken: nothing to keep."
                click.echo(kept, err=True)
    if stop.is_set():
        sys.exit(_STOPPED_BY_CTRL_C)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
def chat(run: Path) -> None:
    """Talk to the model that a run has trained. An empty line or Ctrl-D ends the talk."""
    from ftdemo.data import Turn
    from ftdemo.generate import stream_reply
    from ftdemo.run import Run

    model, tokenizer = Run.load(run).load_model()
    for said in iter(lambda: _read_line("you> "), ""):
        # Each letter stands alone: the built-in data has one turn a side.
        for piece in stream_reply(model, tokenizer, [Turn("user", said)]):
            click.echo(piece, nl=False)
        click.echo("\n")


@main.command()
@click.argument("name")
@click.option("--host", default=HOST, show_default=True, help="Address to listen on.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535))
def demo(name: str, host: str, port: int) -> None:
    """Run one demo on this machine."""
    from ftdemo.serve import serve_demo

    serve_demo(name, host, port)


@main.command()
@click.option("--site", type=click.Path(path_type=Path), default="site", show_default=True, help="The built site.")
@click.option("--host", default=HOST, show_default=True, help="Address to listen on.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535))
def serve(site: Path, host: str, port: int) -> None:
    """Serve the site and all demos at one address."""
    from ftdemo.serve import serve_all

    serve_all(site, host, port)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor(as_json: bool) -> None:
    """Show what this machine has: device, number formats, threads, models, versions."""
    from ftdemo import hardware, models
    from ftdemo.run import versions

    device = hardware.pick_device("auto")
    report = {
        "hardware": hardware.describe(device) | {"weights_in": hardware.dtype_race(str(device)).winner},
        "models": models.available(),
        "cache": str(models.cache_folder()),
        "versions": versions(),
    }
    click.echo(json.dumps(report, indent=2) if as_json else _as_text(report))


@main.command()
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1, 100), help="Runs of each contender.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def bench(runs: int, as_json: bool) -> None:
    """Time LoRA training here, against TRL's SFTTrainer on the same rows. Medians of alternating runs."""
    from ftdemo.bench import compare

    figures = compare(runs, lambda text: click.echo(text, err=True))
    if as_json:
        click.echo(json.dumps(figures, indent=2))
        return
    click.echo(f"{'':<20}{'tokens/s':>10}{'seconds':>10}{'loss':>8}{'peak MB':>10}")
    for name, row in figures.items():
        speed, memory = row["tokens_per_second"], row["peak_memory_bytes"] / 1e6
        click.echo(f"{name:<20}{speed:>10.0f}{row['seconds']:>10.1f}{row['loss']:>8.3f}{memory:>10.0f}")


@main.group()
def site() -> None:
    """Keep the glossary's pages and their records together."""


@site.command("check")
@click.option("--update", is_flag=True, help="Write the recorded numbers into the pages.")
def check_site(update: bool) -> None:
    """Report what in the pages does not hold: numbers, citations. Run it in the repository's root."""
    from ftdemo.site.derive import Project, check

    problems = check(Project(Path.cwd()), update=update)
    click.echo("\n".join(problems), nl=bool(problems))
    sys.exit(1 if problems else 0)


def _recipe(what: str, settings: tuple[str, ...]) -> Recipe:
    from ftdemo.recipe import NAMED, Recipe, parse_setting

    if what in NAMED:
        recipe = NAMED[what]
    elif what.endswith((".yaml", ".yml")):
        recipe = Recipe.from_yaml(Path(what))
    else:
        known = ", ".join(NAMED)
        raise UsageError(f"No recipe called {what}.", f"Name one of ours ({known}) or a file that ends in .yaml.")
    changes = dict(parse_setting(text) for text in settings)
    if what in NAMED and "data" in changes:
        changes.setdefault("examples", None)  # the named recipe's limit was chosen for its own data
    return recipe.with_settings(changes)


@contextmanager
def _ctrl_c_sets() -> Iterator[threading.Event]:
    """Within this, Ctrl-C sets the event; a second one interrupts at once."""
    stop = threading.Event()
    usual = signal.getsignal(signal.SIGINT)

    def ask(_signal: int, _frame: Any) -> None:
        click.echo("\nStopping after what is in hand. Ctrl-C again interrupts at once.", err=True)
        stop.set()
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, ask)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, usual)


def _print_json(events: Iterator[Event], out: Path) -> None:
    from ftdemo.events import to_dict

    for event in events:
        click.echo(json.dumps(to_dict(event), ensure_ascii=False))
    if out.exists():
        click.echo(json.dumps({"event": "saved", "folder": str(out)}))


def _draw(events: Iterator[Event], out: Path) -> None:
    """A progress bar with loss, speed and time left; then the scores and one answer, before and after."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ftdemo.events import Evaluated, Finished, Sampled, Started, Step

    console = Console()
    samples: list[Sampled] = []
    finished: Finished | None = None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("reading data and model", total=None)
        for event in events:
            match event:
                case Started():
                    _tell_started(event, progress.console.print)
                    progress.update(task, total=event.total_steps, description="answering held-out prompts")
                case Sampled():
                    samples.append(event)
                case Step():
                    speed = f"{event.tokens_per_second:.0f} tokens/s"
                    progress.update(task, completed=event.step, description=f"loss {event.loss:.3f}  {speed}")
                case Evaluated():
                    progress.console.print(f"  held-out loss after step {event.step}: {event.loss:.3f}")
                case Finished():
                    finished = event
    if finished:
        _tell_finished(finished, samples, out, console.print)


def _tell_started(event: Any, say: Callable[[str], None]) -> None:
    share = event.trainable_parameters / event.total_parameters
    say(f"{event.examples} examples, {event.trained_tokens:,} trained tokens an epoch, {event.total_steps} steps")
    say(f"{event.trainable_parameters:,} of {event.total_parameters:,} parameters move ({share:.1%})")
    say(f"{event.device}, {event.dtype}, {event.attention} attention")
    if event.dropped_rows:
        say(f"[yellow]max_length leaves nothing to train in rows {_numbers(event.dropped_rows)}: dropped[/]")
    if event.truncated_rows:
        say(f"[yellow]max_length cuts rows {_numbers(event.truncated_rows)}[/]")


def _tell_finished(finished: Finished, samples: list[Sampled], out: Path, say: Callable[[str], None]) -> None:
    from rich.markup import escape

    speed = f"{finished.steps} steps in {finished.seconds:.0f} s, {finished.tokens_per_second:.0f} tokens/s"
    say(f"{finished.status}: {speed}")
    if len(samples) == 2:
        before, after = samples
        for name, value in after.scores.items():
            say(f"  {name:<10} {before.scores[name]:.2f} -> {value:.2f}")
        say(f"\n[bold]{escape(after.answers[0].prompt)}[/]")
        say(f"[dim]before:[/] {escape(before.answers[0].text)}\n[dim]after:[/]  {escape(after.answers[0].text)}\n")
    say(f"Saved in {out}. Talk to it: ftdemo chat {out}")


def _numbers(rows: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, rows[:8]))
    return shown if len(rows) <= 8 else f"{shown} and {len(rows) - 8} more"


def _read_line(prompt: str) -> str:
    """One line from the user; empty at the end of the input."""
    try:
        return input(prompt if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


def _as_text(report: dict[str, Any], indent: str = "") -> str:
    lines = []
    for key, value in report.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", _as_text(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {round(value, 1) if isinstance(value, float) else value}")
    return "\n".join(lines)
