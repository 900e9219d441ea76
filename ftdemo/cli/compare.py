"""`ftdemo compare`."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftdemo.cli.recipe_options import RecipeCommand
from ftdemo.cli.terminal import (
    UserPath,
    events_until_stopped,
    name_or_path,
    new_folder,
    plain_console,
    print_json,
    stop_on_ctrl_c,
)
from ftdemo.data.atomic import atomic_write, require_place
from ftdemo.errors import STOPPED_BY_CTRL_C, UsageError, shell_line, writing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ftdemo.comparison.advice import Measured
    from ftdemo.comparison.approaches import Approach, Task
    from ftdemo.comparison.compare import Comparison
    from ftdemo.events import Event

_REMEDY = "Name another folder with `--out`."
_ON_PRICE = (
    "cached: tokens at the start of every prompt; billed: tokens read, the cached ones at {share:.0%} of the price."
)
RESULT, PICTURE, TUNED = "comparison.json", "quality.svg", "fine-tuned"
"""The files of a comparison, and the folder of its tuned model."""


@click.command("compare", cls=RecipeCommand)
@click.argument("what", metavar="handbook|tickets|FILE|FOLDER", type=name_or_path)
@click.option(
    "--model",
    metavar="MODEL",
    type=name_or_path,
    default="smollm2",
    show_default=True,
    help="Model that answers: a name, folder or Hub id.",
)
@click.option("--documents", type=UserPath(), help="Passages for retrieval: a file or folder of texts.")
@click.option("--instruction", default="", help="System prompt of the model without fine-tuning.")
@click.option(
    "--search",
    type=click.Choice(["bm25", "minilm"]),
    default="bm25",
    show_default=True,
    help="Search engine for retrieval.",
)
@click.option("--approaches", "--ways", "names", metavar="NAME,…", help="Compare only these. Default: all five.")
@click.option(
    "--cached-price",
    type=click.FloatRange(0, 1),
    help="Price of a cached prompt token relative to an ordinary one.",
)
@click.option("--rows", type=click.IntRange(1), help="Ask only the first N questions.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**32 - 1), help="Seed of prompts and training."
)
@click.option("--out", type=UserPath(), help="Folder for the result. Default: a new one in runs.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def compare_command(
    what: str,
    model: str,
    documents: Path | None,
    instruction: str,
    search: str,
    names: str | None,
    cached_price: float | None,
    rows: int | None,
    seed: int,
    out: Path | None,
    as_json: bool,
    changes: dict[str, Any],
) -> None:
    """Compare prompting, RAG and fine-tuning on the same questions.

    Two tasks are built in: *handbook*, questions about a shop's staff handbook, and *tickets*, customers' messages to
    turn into JSON. To compare on your own data, name a data file, or a folder with train.jsonl and heldout.jsonl.
    Retrieval searches `--documents`. The approaches are zero-shot, few-shot, rag, fine-tuning and fine-tuning+rag. The
    recipe options apply to the fine-tuning. Ctrl-C stops the comparison and keeps the results so far.
    """
    from ftdemo.comparison import approaches
    from ftdemo.comparison import compare as engine

    task = _task(what, instruction, documents)
    chosen = _chosen(names, approaches.APPROACHES)
    _refuse_without_effect(changes, chosen, documents, click.get_current_context())
    out = out or new_folder("compare")
    require_place(out, _REMEDY)
    with stop_on_ctrl_c() as stop:
        events = engine.run_comparison(
            task,
            out / TUNED,
            model=model,
            seed=seed,
            rows=rows,
            approaches=chosen,
            search=search,
            cached_price=approaches.CACHED_PRICE if cached_price is None else cached_price,
            settings=changes,
            stop=stop,
        )
        with closing(events_until_stopped(events, stop)) as seen:
            comparison = _result_of(seen, task)
        if comparison is not None:
            print_json(comparison.as_dict(), indent=2) if as_json else _print_comparison(comparison)
            _save(comparison, out)
            if not as_json:
                command = shell_line("ftdemo", "chat", str(out / TUNED))
                chat = f" Chat with the fine-tuned model: {command}" if (out / TUNED).exists() else ""
                click.echo(f"Saved in {out}: {RESULT}, {PICTURE}.{chat}")
    if stop.is_set():
        sys.exit(STOPPED_BY_CTRL_C)


def _task(what: str, instruction: str, documents: Path | None) -> Task:
    """A built-in task by its name, or one from the user's own data."""
    from ftdemo.comparison import approaches

    known = approaches.tasks()
    if what in known:
        if documents or instruction:
            raise UsageError(
                f"{what} has its own instruction and documents.", "Use these options only with your own data."
            )
        return known[what]
    if not Path(what).exists():
        raise UsageError(f"There is no task or file called {what}.", f"Name {' or '.join(known)}, or your own data.")
    return approaches.load_task(Path(what), instruction=instruction, documents=documents)


def _chosen(text: str | None, known: tuple[Approach, ...]) -> tuple[Approach, ...]:
    named = text.split(",") if text else known
    if unknown := [name for name in named if name not in known]:
        raise UsageError(f"There is no approach {unknown[0]!r}.", f"The approaches are: {', '.join(known)}.")
    return tuple(approach for approach in known if approach in named)


def _refuse_without_effect(
    changes: dict[str, Any], chosen: tuple[Approach, ...], documents: Path | None, context: click.Context
) -> None:
    """Refuse what would not change the comparison.

    Raises:
        UsageError: With what to do.
    """
    from ftdemo.comparison.approaches import RETRIEVING, TUNED

    for key in changes:
        if key == "data":
            what = "`data` has no effect, because compare takes its data as an argument."
            raise UsageError(what, "Name it like `ftdemo compare FILE`.")
        if key in context.params:
            raise UsageError(f"`{key}` has no effect: compare has an option --{key}.", f"Use --{key} without --set.")
        if key not in _OF_ALL and not set(TUNED) & set(chosen):
            raise UsageError(f"`{key}` has no effect, because nothing is fine-tuned.", _ADD.format("fine-tuning"))
    is_search_set = context.get_parameter_source("search") is click.core.ParameterSource.COMMANDLINE
    for option, is_set in (("--documents", documents is not None), ("--search", is_search_set)):
        if is_set and not set(RETRIEVING) & set(chosen):
            raise UsageError(f"{option} has no effect, because nothing is retrieved.", _ADD.format("rag"))


_ADD = "Leave it out, or add {} to `--approaches`."
_OF_ALL = ("examples", "answer_tokens")
"""Keys of the recipe that all approaches read: the examples that prompts may show, and the length of an answer."""


def _result_of(events: Iterator[Event | Measured | Comparison], task: Task) -> Comparison | None:
    """The comparison that the events end with. Meanwhile a line shows the current step."""
    from rich.text import Text

    from ftdemo.comparison.advice import Measured
    from ftdemo.comparison.compare import Comparison
    from ftdemo.events import Step

    def saying(text: str) -> Text:
        """The status line: the task and the current step."""
        return Text(f"{task.name}: {text}")  # no markup

    console = plain_console(stderr=True)
    with console.status(saying("answering")) as status:
        for event in events:
            match event:
                case Step(step=step, total_steps=total, loss=loss):
                    status.update(saying(f"training, step {step} of {total}, loss {loss:.3f}"))
                case Measured(approach=approach, quality=quality):
                    console.print(f"{approach}: quality {quality.value:.0%} on {quality.rows} questions")
                    status.update(saying("answering"))
                case Comparison():
                    return event
    return None


def _save(comparison: Comparison, out: Path) -> None:
    from ftdemo import charts
    from ftdemo.comparison.advice import quality_chart
    from ftdemo.comparison.compare import as_json

    svg = quality_chart(comparison.as_dict()["ways"], comparison.quality_is)
    for name, text in ((RESULT, as_json(comparison)), (PICTURE, charts.standalone(svg))):
        with writing(out / name, _REMEDY), atomic_write(out / name) as new:
            new.write_text(text, encoding="utf-8")


def _print_comparison(comparison: Comparison) -> None:
    from rich.table import Table

    from ftdemo.comparison.advice import approach_table

    head, rows = approach_table(comparison.as_dict()["ways"], comparison.quality_is)
    printed = Table(*head, box=None, pad_edge=False)
    for column in printed.columns[1:]:
        column.justify = "right"
    for row in rows:
        printed.add_row(*row)
    console = plain_console()
    console.print(f"{comparison.task}: {comparison.rows} questions to {comparison.model}, seed {comparison.seed}")
    console.print(printed)
    console.print(_ON_PRICE.format(share=comparison.cached_price))
    console.print(f"\n{comparison.advice}")
