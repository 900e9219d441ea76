"""The shell: `ftdemo train`, `inspect`, `evaluate`, `chat` and so on. It parses, draws and reports, decides nothing."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ftdemo import __version__
from ftdemo.cli.compare import compare, estimate
from ftdemo.cli.terminal import ctrl_c_sets
from ftdemo.cli.workflow import judge, workflow
from ftdemo.errors import STOPPED_BY_CTRL_C, FtdemoError, UsageError
from ftdemo.site.commands import new_term, site
from ftdemo.training import distributed
from ftdemo.ui import page_at

if TYPE_CHECKING:
    from ftdemo.data.check import Report
    from ftdemo.data.tokenize import Examples
    from ftdemo.events import Event, Finished, Sampled
    from ftdemo.experiments.spec import Experiment
    from ftdemo.recipe import Recipe
    from ftdemo.runs.run import Run

_QUIET_SECONDS = 60
HOST, PORT = "127.0.0.1", 7860
_BAR = 40
"""Signs of the longest bar of a histogram."""


class _Commands(click.Group):
    """Turns every error that the user can mend into two lines and an exit code."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command; end with the error's exit code where it has one."""
        try:
            return super().invoke(context)
        except FtdemoError as error:
            if distributed.is_main() or not isinstance(error, UsageError):  # a wrong request is wrong in every process
                click.echo(f"{click.style('Error:', fg='red', bold=True)} {error.what}\n{error.remedy}", err=True)
            else:
                distributed.let_the_main_one_speak()
            context.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
            context.exit(STOPPED_BY_CTRL_C)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ftdemo")
def main() -> None:
    """Train a small model, see what changes, and talk to it."""


@main.command()
@click.argument("what", metavar="NAME|RECIPE.yaml", required=False)
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change a key of the recipe. Repeatable.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the run. Default: runs/<method>-<time>.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with a run that was stopped.")
@click.option("--json", "as_json", is_flag=True, help="Print each event as a line of JSON.")
@click.option("--show", is_flag=True, help="Print the recipe in full and stop.")
def train(
    what: str | None, settings: tuple[str, ...], out: Path | None, resume: Path | None, as_json: bool, show: bool
) -> None:
    """Train by a named recipe or a recipe file, judge before and after, and keep the run.

    The named recipes are lora, full, dora, qlora, scratch, probe and classify. Ctrl-C ends the training after the
    step in hand; what was trained is judged and kept, and `--resume RUN` goes on from there.
    """
    if distributed.start_missing(sys.argv[1:]):
        return
    if resume is not None:
        if what or settings or out:
            raise UsageError("--resume goes on with a run as it was begun.", "Give nothing else but the run's folder.")
        from ftdemo.runs.run import Run

        run = Run.load(resume)
        return _train(run.recipe, resume, as_json, run)
    if what is None:
        raise UsageError("What should be trained?", "Name a recipe, `ftdemo train lora` say, or a file, or --resume.")
    from ftdemo.recipe import recipe_of

    recipe = recipe_of(what, settings)
    if show:
        return click.echo(recipe.to_yaml(), nl=False)
    _train(recipe, out or Path("runs") / f"{recipe.method}-{datetime.now():%Y%m%d-%H%M%S}", as_json)


def _train(recipe: Recipe, out: Path, as_json: bool, resume: Run | None = None) -> None:
    from ftdemo.runs.perform import perform

    aloud = _print_json if as_json else _draw
    report = aloud if distributed.is_main() else _keep_silent
    with ctrl_c_sets() as stop:
        try:
            report(perform(recipe, out, stop=stop, resume=resume), out)
            distributed.part()
        finally:
            if stop.is_set() and distributed.is_main() and not isinstance(sys.exception(), FtdemoError):
                click.echo(_what_is_kept(out), err=True)
    if stop.is_set():
        sys.exit(STOPPED_BY_CTRL_C)


def _what_is_kept(out: Path) -> str:
    from ftdemo.training import checkpoint

    if not out.exists():
        return "No step was taken: nothing to keep."
    goes_on = f" Go on with: ftdemo train --resume {out}" if (out / checkpoint.FILE).exists() else ""
    return f"What was trained is kept in {out}.{goes_on}"


@main.command()
@click.argument("what", metavar="RUN|MODEL")
@click.option("--base", metavar="MODEL", help="Take the adapter's base model from here: a folder or a Hub id.")
@click.option("--against", metavar="base|RUN|MODEL", help="Ask this one the same, and show both answers side by side.")
def chat(what: str, base: str | None, against: str | None) -> None:
    """Talk to the model that a run has trained, or to a model as it is: tiny, nano, smollm2, or a folder.

    A folder may hold a run, a model of transformers, or an adapter of PEFT.

    Each line that you type is answered on its own. An empty line or Ctrl-D ends the talk. With `--against base` the
    model that the run began with answers beside it.
    """
    voices = {what: _voice(what, base)}
    if against:
        other = _as_it_is(base or _began_with(what)) if against == "base" else _voice(against, base)
        voices = {against: other} | voices
    for said in iter(lambda: _read_line("you> "), ""):
        replies = {name: speak(said) for name, speak in voices.items()}
        if len(replies) > 1:
            _side_by_side(replies)
            continue
        for piece in replies[what]:
            click.echo(piece, nl=False)
        click.echo("\n")


_Voice = Callable[[str], "Iterator[str]"]
"""What answers a line, piece by piece."""


def _voice(what: str, base: str | None) -> _Voice:
    """A run's model, a model as it is, or an adapter on the base that it names."""
    from ftdemo.evaluation.generate import REPLY_TOKENS
    from ftdemo.runs.adapters import load_adapter
    from ftdemo.runs.run import Run

    folder = Path(what)
    if _is_adapter(folder):
        return _speaks(*load_adapter(folder, base), REPLY_TOKENS)
    if _is_model(what) or _is_from_elsewhere(folder, "config.json"):
        return _as_it_is(what)
    run = Run.load(folder)
    if run.labels:
        raise UsageError(f"{what} holds a classifier, which does not talk.", f"Judge it: `ftdemo evaluate {what}`.")
    return _speaks(*run.load_model(base), run.reply_tokens)


def _as_it_is(model: str) -> _Voice:
    from ftdemo.evaluation.generate import REPLY_TOKENS
    from ftdemo.models.load import load_ready

    return _speaks(*load_ready(model), REPLY_TOKENS)


def _speaks(model: Any, tokenizer: Any, longest: int) -> _Voice:
    from ftdemo.data import Turn
    from ftdemo.evaluation.generate import stream_reply

    # Each letter stands alone: the built-in data has one turn a side.
    return lambda said: stream_reply(model, tokenizer, [Turn("user", said)], max_new_tokens=longest)


def _is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter that no run of ours has written."""
    from ftdemo.runs.adapters import ADAPTER_CONFIG

    return _is_from_elsewhere(folder, ADAPTER_CONFIG)


def _is_from_elsewhere(folder: Path, file: str) -> bool:
    """Whether a folder holds such a file, and no run of ours."""
    from ftdemo.runs.run import RECORD

    return (folder / file).exists() and not (folder / RECORD).exists()


def _is_model(what: str) -> bool:
    from ftdemo.recipe import BUNDLED_MODELS

    return what in (*BUNDLED_MODELS, "smollm2")


def _began_with(what: str) -> str:
    """The model that a run or an adapter began with."""
    from ftdemo.runs.adapters import base_of
    from ftdemo.runs.run import Run

    if _is_model(what):
        raise UsageError(f"{what} is no run: it began with nothing.", "Name a run's folder, or another model after it.")
    if _is_adapter(Path(what)):
        return base_of(Path(what))
    recipe = Run.load(Path(what)).recipe
    if recipe.method == "scratch":
        raise UsageError(f"{what} began with random weights, which have nothing to say.", "Leave out `--against`.")
    return recipe.model


def _side_by_side(replies: dict[str, Iterator[str]]) -> None:
    """Answers in columns, as they come; where nobody looks on, one below the other."""
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    texts = dict.fromkeys(replies, "")

    def table() -> Table:
        shown = Table(*texts, expand=True, box=None, pad_edge=False)
        for column in shown.columns:
            column.ratio = 1
        shown.add_row(*map(Text, texts.values()))
        return shown

    console = Console()
    with Live(table(), console=console, auto_refresh=False) as live:
        for pieces in zip_longest(*replies.values(), fillvalue=""):
            texts = {name: texts[name] + piece for name, piece in zip(texts, pieces, strict=True)}
            if console.is_terminal:
                live.update(table(), refresh=True)
        live.update(table(), refresh=True)
    console.print()


@main.command()
@click.argument("what", metavar="NAME|RECIPE.yaml|DATA")
@click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help="Change a key of the recipe. Repeatable.")
@click.option("--rows", default=3, show_default=True, type=click.IntRange(1), help="How many rows to show.")
def inspect(what: str, settings: tuple[str, ...], rows: int) -> None:
    """Show what a model is trained on: each row as it reads it, the trained tokens in colour.

    Of a data file or a built-in data set, as the recipe lora would train on it.
    """
    from ftdemo.recipe import NAMED, recipe_of
    from ftdemo.training.inspection import inspect_recipe

    if what in NAMED or what.endswith((".yaml", ".yml")):
        recipe = recipe_of(what, settings)
    else:
        recipe = recipe_of("lora", (f"data={json.dumps(what)}", *settings))
    seen = inspect_recipe(recipe)
    for example in seen.examples[:rows]:
        cut = f", cut at {recipe.max_length}" if example.truncated else ""
        click.secho(f"row {example.row}: {len(example)} tokens, {example.trained_tokens} trained{cut}", bold=True)
        for text, trained in seen.spans(example):
            click.echo(_marked(text) if trained else click.style(text, dim=True), nl=False)
        click.echo("\n")
    _tell_rows(seen.examples, recipe)


@main.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", "form", type=click.Choice(["adapter", "merged"]), required=True, help="What is written.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), default="float32", show_default=True)
@click.option("--base", metavar="MODEL", help="Take the adapter's base model from here: a folder or a Hub id.")
@click.option("--judge", "judged", is_flag=True, help="Measure what the model forgot, for its card.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def export_run(
    run: Path, form: Literal["adapter", "merged"], out: Path, dtype: str, base: str | None, judged: bool, as_json: bool
) -> None:
    """Write a run's model for others: its adapter, or merged into the base, with tokenizer, stop tokens and a card.

    What was written is loaded again by plain transformers and PEFT, and its logits are compared with the run's.
    """
    from ftdemo.runs.publish import release, release_as_dict
    from ftdemo.runs.run import Run

    done = release(Run.load(run), out, form, dtype=dtype, base=base, judged=judged)
    if as_json:
        return click.echo(json.dumps(release_as_dict(done), indent=2))
    click.echo(f"Written: {done.folder}, {done.bytes / 1e6:,.1f} MB of weights")
    apart = f"{done.largest_difference:.1g}, where the largest logit is {done.largest_logit:.0f}"
    click.echo(f"Loaded again by plain libraries, its logits differ from the run's by at most {apart}.")
    click.echo(f"Upload it: hf upload OWNER/{out.name} {out}")


@main.command("check-data")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--model", default="tiny", show_default=True, help="Whose tokens are counted: a name, a folder, a Hub id."
)
@click.option(
    "--max-length", default=512, show_default=True, type=click.IntRange(2), help="Tokens that a row may have."
)
@click.option(
    "--against", type=click.Path(path_type=Path), metavar="FILE", help="Rows to judge by: are any among them?"
)
@click.option("--map", "mapped", metavar="OURS=THEIRS", multiple=True, help="A column's own name. Repeatable.")
@click.option("--fix", type=click.Path(path_type=Path), metavar="OUT", help="Write a cleaned copy as JSON lines.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def check_data(
    file: Path,
    model: str,
    max_length: int,
    against: Path | None,
    mapped: tuple[str, ...],
    fix: Path | None,
    as_json: bool,
) -> None:
    """Say what is in a file of rows, what is wrong with it, and why that matters, before anything is trained.

    What kind of file it is and how its rows are written, is found out. Where columns have names of their own, say which
    are which: `--map prompt=question --map completion=reply`. `--fix` leaves out what cannot be trained on or stands
    there twice, and lists it beside the copy; the file itself is never touched. It ends with 2 where rows cannot be
    used, unless a cleaned copy was asked for.
    """
    from ftdemo.data.check import CHANGES, check_file
    from ftdemo.data.rows import KEYS
    from ftdemo.models.load import load_tokenizer, resolve

    def tell(rows: int) -> None:
        click.echo(f"\r{rows:,} rows …", nl=False, err=True)

    columns = {}
    for text in mapped:
        ours, equals, theirs = text.partition("=")
        if not equals or not theirs or ours not in KEYS:
            what = f"--map {text}: a name of ours is expected, an equals sign, and the file's own name."
            raise UsageError(what, f"Our names are: {', '.join(KEYS)}.")
        columns[theirs] = ours
    source = resolve(model)
    counted = tell if sys.stderr.isatty() else None
    report = check_file(
        file,
        load_tokenizer(source),
        model=model,
        max_length=max_length,
        against=against,
        columns=columns,
        fix=fix,
        tell=counted,
    )
    if counted:
        click.echo("\r", nl=False, err=True)
    click.echo(json.dumps(report.as_dict(), indent=2, ensure_ascii=False)) if as_json else _print_report(report)
    if fix:
        kept = report.rows - report.left_out
        click.echo(f"\n{fix}: {kept:,} kept. {report.left_out:,} left out: see {fix}{CHANGES}.", err=as_json)
    elif report.good < report.rows:
        sys.exit(UsageError.exit_code)


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", metavar="FILE|SET", help="Judge by these rows. Default: those that the run held out.")
@click.option("--rows", type=click.IntRange(1), help="Use only the first N of them.")
@click.option("--base", metavar="MODEL", help="Take the adapter's base model from here: a folder or a Hub id.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def evaluate(run: Path, data: str | None, rows: int | None, base: str | None, as_json: bool) -> None:
    """Judge a run's model before and after training: loss, scores and old skill, each with its 95% interval."""
    from ftdemo.data import AnyRow, Trial, load_splits, stream_rows
    from ftdemo.evaluation.evaluate import evaluate_before_and_after, evaluations_as_dict
    from ftdemo.runs.run import Run

    loaded = Run.load(run)
    name = data or loaded.recipe.data
    judged: tuple[AnyRow, ...]
    trials: tuple[Trial, ...] = ()
    if data and Path(data).is_file():
        judged = tuple(stream_rows(Path(data)))
    else:
        splits = load_splits(name, seed=loaded.recipe.seed)
        judged, trials = splits.heldout, splits.trials
    if not judged:
        raise UsageError(f"{name} has no held-out rows: it is too short.", "Name a file with `--data`.")
    result = evaluations_as_dict(evaluate_before_and_after(loaded, judged[:rows], trials[:rows], data=name, base=base))
    if as_json:
        return click.echo(json.dumps(result, indent=2))
    _print_evaluation(result)


@main.command()
@click.argument("name")
@click.option("--host", default=HOST, show_default=True, help="Address to listen on.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535))
@click.option("--public", is_flag=True, help="Bound each run, for strangers. Implied by another host than this one.")
def demo(name: str, host: str, port: int, public: bool) -> None:
    """Run one demo on this machine; studio is all of them."""
    from ftdemo.serving.server import serve_demo

    serve_demo(name, host, port, public=public)


@main.command()
@click.option("--site", type=click.Path(path_type=Path), default="site", show_default=True, help="The built site.")
@click.option("--host", default=HOST, show_default=True, help="Address to listen on.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535))
@click.option("--public", is_flag=True, help="Bound each run, for strangers. Implied by another host than this one.")
def serve(site: Path, host: str, port: int, public: bool) -> None:
    """Serve the site and all demos at one address."""
    from ftdemo.serving.server import serve_all

    serve_all(site, host, port, public=public)


@main.group()
def spaces() -> None:
    """Make a Hugging Face Space of a demo."""


@spaces.command("build")
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write: it will be the Space.")
def build_space(name: str, out: Path) -> None:
    """Write a demo, or studio, as a folder that is a Space."""
    from ftdemo.serving.spaces import build

    for path in build(name, out):
        click.echo(path)
    click.echo(f"Upload it: hf upload OWNER/{name} {out} . --repo-type space")


@main.command()
@click.argument("name")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write. Default: NAME.ipynb.")
def notebook(name: str, out: Path | None) -> None:
    """Write a notebook that does step by step what a demo does, for a hosted service or this machine."""
    from ftdemo.runs.notebook import write_notebook

    click.echo(f"Written: {write_notebook(name, out or Path(f'{name}.ipynb'))}")


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def doctor(as_json: bool) -> None:
    """Show what this machine has: device, number formats, threads, models, versions."""
    from ftdemo.models import load as models
    from ftdemo.runs.run import versions
    from ftdemo.training import hardware

    device = hardware.pick_device("auto")
    report = {
        "hardware": hardware.describe(device) | {"weights_in": hardware.dtype_race(str(device)).winner},
        "models": models.available(),
        "cache": str(models.cache_folder()),
        "versions": versions(),
    }
    click.echo(json.dumps(report, indent=2) if as_json else _as_text(report))


@main.command()
@click.argument("names", metavar="[EXPERIMENT]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every experiment.")
@click.option("--quick", is_flag=True, help="The quick form: one seed, shorter runs. It is kept beside the record.")
@click.option("--check", is_flag=True, help="Do the quick form again and say which recorded claim no longer holds.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    help="Keep the runs in this folder; those that are there are not done again.",
)
@click.option("--folder", type=click.Path(path_type=Path), default="docs/experiments", show_default=True)
def record(names: tuple[str, ...], everything: bool, quick: bool, check: bool, keep: Path | None, folder: Path) -> None:
    """Carry out experiments and write their records: each arm, each seed, and how every claim comes out."""
    from ftdemo.experiments.spec import find_experiments

    known = find_experiments(folder)
    if not names and not everything:
        raise UsageError("Which experiment?", f"Name some, or --all: {', '.join(known) or f'none is in {folder}'}.")
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"There is no experiment {unknown[0]} in {folder}.", f"There are: {', '.join(known)}.")
    changed = []
    for name in names or known:
        if check:
            changed += _check_experiment(known[name])
        else:
            _record_experiment(known[name], quick, keep)
    click.echo("\n".join(changed), nl=bool(changed))
    sys.exit(1 if changed else 0)


def _record_experiment(found: Experiment, quick: bool, keep: Path | None) -> None:
    from ftdemo.experiments import runner
    from ftdemo.experiments import spec as experiment

    if quick and not found.spec.quick:
        raise UsageError(f"{found.name} has no quick form.", "Carry it out whole, without `--quick`.")
    with runner.run_folder(keep and keep / found.name) as runs:
        if not quick:
            _print_claims(_carried_out(found, False, runs / "whole"), found.folder / experiment.RECORD)
            if found.spec.ships:
                runner.ship(found, runs / "whole")
        if found.spec.quick:
            _print_claims(_carried_out(found, True, runs / "quick"), found.folder / experiment.QUICK)


def _check_experiment(found: Experiment) -> list[str]:
    """What the quick form no longer shows, claim by claim."""
    from ftdemo.experiments import runner
    from ftdemo.experiments import spec as experiment

    if not found.spec.quick:
        return []  # too long to be done again just to see
    recorded = found.record(experiment.QUICK)
    if recorded is None:
        return [f"{found.name}: no {experiment.QUICK} is recorded. Run `ftdemo record {found.name} --quick`."]
    with runner.run_folder(None) as runs:
        again = _carried_out(found, True, runs)
    verdicts = {claim["id"]: claim for claim in again["claims"]}
    return [
        f'{found.name}: "{claim["says"]}" {claim["verdict"]} by the record ({claim["value"]:g}), '
        f"and now {verdicts[claim['id']]['verdict']} ({verdicts[claim['id']]['value']:g}; {claim['bound']})."
        for claim in recorded["claims"]
        if verdicts[claim["id"]]["verdict"] != claim["verdict"]
    ]


def _carried_out(found: Experiment, quick: bool, runs: Path) -> dict[str, Any]:
    """An experiment's record; meanwhile a line says which run is in hand."""
    from rich.console import Console

    from ftdemo.events import Evaluated, Finished, Step
    from ftdemo.experiments.runner import run_experiment

    console, record, said = Console(stderr=True), {}, 0.0
    with console.status(found.name) as status:
        for progress in run_experiment(found, quick=quick, folder=runs):
            if isinstance(progress, dict):
                record = progress
                continue
            run = f"{found.name}: {progress.run} ({progress.place} of {progress.of})"
            match progress.event:
                case Step(step=step, total_steps=total, loss=loss):
                    status.update(f"{run}, step {step} of {total}, loss {loss:.3f}")
                case Evaluated(step=step, loss=loss) if time.monotonic() - said > _QUIET_SECONDS:
                    console.print(f"{run}: held-out loss after step {step}: {loss:.3f}")
                    said = time.monotonic()
                case Finished(seconds=seconds):
                    console.print(f"{run}: {seconds:.0f} s of training")
    return record


def _print_claims(record: dict[str, Any], path: Path) -> None:
    from ftdemo.experiments.runner import write_record

    write_record(record, path)
    for claim in record["claims"]:
        interval = f"{claim['value']:g} [{claim['low']:g}, {claim['high']:g}]"
        click.echo(f"  {claim['verdict']:<13} {claim['says']} {interval}, {claim['bound']}; {claim['statistic']}")
    click.echo(f"Written: {path}, {record['seconds']:.0f} s")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--of", "what", type=click.Choice(["loss", "scores"]), default="loss", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A .png or .svg file. Default: loss.png.")
def chart(run: Path, what: str, out: Path | None) -> None:
    """Draw a run's loss, or its scores before and after: the picture that demo and page show."""
    from ftdemo import charts
    from ftdemo.runs.run import Run

    loaded, out = Run.load(run), out or Path(f"{what}.png")
    if out.suffix not in (".png", ".svg"):
        raise UsageError(f"{out} is neither .png nor .svg.", "Name a file that ends in one of the two.")
    scores = loaded.record["scores"]
    if what == "scores" and not scores.get("after"):
        raise UsageError(f"{run} has no scores.", "Draw its loss: `--of loss`.")
    svg = (
        charts.loss_chart(loaded.events)
        if what == "loss"
        else charts.score_chart(scores.get("before", {}), scores["after"])
    )
    try:
        out.write_bytes(charts.as_png(svg) if out.suffix == ".png" else charts.standalone(svg).encode())
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}.", "Name another file with `--out`.") from None
    click.echo(f"Written: {out}")


main.add_command(compare)
main.add_command(estimate)
main.add_command(workflow)
main.add_command(judge)
main.add_command(site)
main.add_command(new_term)


def _keep_silent(events: Iterator[Event], _out: Path) -> None:
    """Carry out a run whose main process does the talking."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    for _ in events:
        pass


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
                    in_bits = f", {event.bits_per_byte:.3f} bits a byte" if event.bits_per_byte else ""
                    progress.console.print(f"  held-out loss after step {event.step}: {event.loss:.3f}{in_bits}")
                case Finished():
                    finished = event
    if finished:
        _tell_finished(finished, samples, out, console.print)


def _tell_started(event: Any, say: Callable[[str], None]) -> None:
    share = event.trainable_parameters / event.total_parameters
    trained = f"{event.trained_tokens:,} trained tokens an epoch, " if event.trained_tokens else ""
    say(f"{event.examples} examples, {trained}{event.total_steps} steps")
    say(f"{event.trainable_parameters:,} of {event.total_parameters:,} parameters move ({share:.1%})")
    say(f"{event.device}, {event.dtype}, {event.attention} attention")
    if event.dropped_rows:
        say(f"[yellow]max_length leaves nothing to train in rows {_numbers(event.dropped_rows)}: dropped[/]")
    if event.truncated_rows:
        say(f"[yellow]max_length cuts rows {_numbers(event.truncated_rows)}[/]")

    if event.baselines:
        known = ", ".join(f"{name} {nats:.2f}" for name, nats in event.baselines.items())
        say(f"to compare the loss with, in nats a token: {known}")


def _marked(text: str) -> str:
    """Trained text: green, or between marks where there are no colours."""
    return click.style(text, fg="green", bold=True) if sys.stdout.isatty() else f"⟦{text}⟧"


def _tell_rows(examples: Examples, recipe: Recipe) -> None:
    tokens = sum(examples.lengths)
    click.echo(f"{len(examples)} examples, {tokens:,} tokens, {examples.trained_tokens:,} of them trained")
    if examples.truncated:
        click.echo(f"max_length {recipe.max_length} cuts rows {_numbers(tuple(examples.truncated))}")
    if examples.dropped:
        dropped = _numbers(tuple(examples.dropped))
        click.secho(f"max_length {recipe.max_length} leaves nothing to train in rows {dropped}: dropped", fg="yellow")


def _print_evaluation(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", "rows", "before", "after", box=None, pad_edge=False)
    for part, title in (("heldout", "held-out rows"), ("old_skill", "old skill")):
        for name, after in result["after"][part].items():
            before = result["before"][part].get(name) if result["before"] else None
            table.add_row(f"{title}: {name}", str(after["rows"]), _interval(before), _interval(after))
    Console().print(table)


def _print_report(report: Report) -> None:
    bad = f", {report.good:,} of them good" if report.good < report.rows else ""
    click.echo(f"{report.file}: {report.rows:,} {'row' if report.rows == 1 else 'rows'}{bad}.")
    for shape, rows in report.shapes.items():
        click.echo(f"{rows:,} known by {shape}.")
    if report.good:
        bins = report.histogram()
        most = max(rows for *_, rows in bins)
        click.echo(f"\n{report.tokens:,} tokens of {report.model}, {report.median_length():,} in the middle row:")
        for low, high, rows in bins:
            click.echo(f"{low:>9,} to {high:<9,} {'▇' * round(_BAR * rows / most)} {rows:,}")
    if report.labels:
        click.echo("\nLabels: " + ", ".join(f"{label} {rows:,}" for label, rows in islice(report.labels.items(), 20)))
    for finding in report.findings:
        one = finding.count == 1
        click.secho(f"\n{finding.count:,} {'row' if one else 'rows'}", bold=True, nl=False)
        click.echo(f", {finding.says}.")
        if finding.rows:
            more = f" and {finding.count - len(finding.rows):,} more" if finding.count > len(finding.rows) else ""
            click.echo(f"  {'line' if one else 'lines'} {', '.join(f'{row:,}' for row in finding.rows)}{more}")
        for example in finding.examples[:3]:
            click.echo(f"  {example}")
        click.echo(f"  {page_at(finding.page)}")
    if not report.findings:
        click.echo("\nNothing was found that speaks against training on it.")


def _interval(figure: dict[str, float] | None) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})" if figure else "-"


def _tell_finished(finished: Finished, samples: list[Sampled], out: Path, say: Callable[..., None]) -> None:
    from rich.markup import escape

    speed = f"{finished.steps} steps in {finished.seconds:.0f} s, {finished.tokens_per_second:.0f} tokens/s"
    say(f"{finished.status}: {speed}")
    if len(samples) == 2 and samples[1].answers:
        before, after = samples
        longest = max(map(len, after.scores), default=0)
        for name, value in after.scores.items():
            say(f"  {name:<{longest}} {before.scores[name]:.2f} -> {value:.2f}")
        say(f"\n[bold]{escape(after.answers[0].prompt)}[/]")
        say(f"[dim]before:[/] {escape(before.answers[0].text)}\n[dim]after:[/]  {escape(after.answers[0].text)}\n")
    told = f"Saved in {out}. Judge it: ftdemo evaluate {out}. Talk to it: ftdemo chat {out}"
    say(told, soft_wrap=True)  # a command that is broken into lines could not be copied


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
