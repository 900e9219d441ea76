"""`ftdemo export`: a run's model for other programs, or a recipe for other trainers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from ftdemo.cli.terminal import UserPath, name_or_path, print_json
from ftdemo.errors import UsageError, shell_line

if TYPE_CHECKING:
    from ftdemo.runs.run import Run

_TRAINERS = ("peft-trl", "unsloth", "axolotl", "llama-factory", "mlx", "torchrun")
"""As `ftdemo.runs.elsewhere.write.TOOLS` has them, which is not imported to explain the command."""


@click.command("export")
@click.argument("what", metavar="RUN|NAME|RECIPE.yaml", type=name_or_path)
@click.option("--to", "form", type=click.Choice(["adapter", "merged"]), help="Which part of a run's model to write.")
@click.option("--as", "trainer", type=click.Choice(_TRAINERS), help="Write the recipe for this trainer.")
@click.option("--out", type=UserPath(), required=True, help="Folder to write.")
@click.option("--dtype", type=click.Choice(["float32", "bfloat16"]), help="Number format. Default: float32.")
@click.option("--base", metavar="MODEL", type=name_or_path, help="Base model of the adapter: a folder or a Hub id.")
@click.option("--judge", "judged", is_flag=True, help="Measure what the model forgot, for its model card.")
@click.option("--model", metavar="ID", help="With --as: adapt the recipe to this model of the Hub.")
@click.option("--size", metavar="8B", help="With --model: its number of parameters, such as 8B or 360M.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def export_command(
    what: str,
    form: Literal["adapter", "merged"] | None,
    trainer: str | None,
    out: Path,
    dtype: str | None,
    base: str | None,
    judged: bool,
    model: str | None,
    size: str | None,
    as_json: bool,
) -> None:
    """Export a run's model, or a recipe for another trainer.

    With --to, the folder holds a run's adapter or merged model, tokenizer, stop tokens and a model card. To check it,
    plain transformers and PEFT load it, and its logits are compared with the run's: if they differ by more than
    rounding, nothing is written.

    With --as, the folder holds everything that another trainer needs to do the same: its script or configuration, the
    data in its format, and a README. Comments explain each setting that is not the same in both.
    """
    if (form is None) == (trainer is None):
        raise UsageError("What should be exported?", "Give either `--to`, for a model, or `--as`, for a recipe.")
    for_model, for_recipe = {"--dtype": dtype, "--base": base, "--judge": judged}, {"--model": model, "--size": size}
    for option, value in (for_model if trainer else for_recipe).items():
        if value:
            raise UsageError(f"{option} has no effect with `--{'as' if trainer else 'to'}`.", "Leave it out.")
    if form:
        return _export_model(Path(what), form, out, dtype or "float32", base, judged, as_json)
    _export_recipe(what, str(trainer), out, model, size, as_json)


def _export_model(
    folder: Path,
    form: Literal["adapter", "merged"],
    out: Path,
    dtype: str,
    base: str | None,
    judged: bool,
    as_json: bool,
) -> None:
    from ftdemo.runs.publish import release, release_as_dict
    from ftdemo.runs.run import Run

    run = Run.load(folder)
    if judged and not run.has_base:
        raise UsageError(f"--judge has no effect: {folder} has no base that knew something before.", "Leave it out.")
    if base and not (run.recipe.is_low_rank or (judged and run.has_base)):
        raise UsageError(f"--base has no effect: {folder} holds a whole model, not an adapter.", "Leave it out.")
    done = release(run, out, form, dtype=dtype, base=base, test_old_skill=judged)
    if as_json:
        return print_json(release_as_dict(done), indent=2)
    click.echo(f"Written: {done.folder}, {done.bytes / 1e6:,.1f} MB of weights")
    difference = f"{done.largest_difference:.1g} (largest logit: {done.largest_logit:.0f})"
    click.echo(f"Loaded by plain libraries, its logits differ from the run's by at most {difference}.")
    if done.untied:
        click.echo("Embedding and head are now two separate matrices, because the adapter changed only one of them.")
    name = re.sub(r"[^\w.-]+", "-", out.resolve().name)  # what the Hub allows in a name
    command = shell_line("hf", "upload", f"OWNER/{name}", str(out))
    click.echo(f"Upload it: {command}")


def _export_recipe(what: str, trainer: str, out: Path, model: str | None, size: str | None, as_json: bool) -> None:
    from ftdemo.models.catalog import parse_size
    from ftdemo.recipe import recipe_of
    from ftdemo.runs.elsewhere.job import translate
    from ftdemo.runs.elsewhere.write import TOOLS, export_job

    if size and not model:
        raise UsageError("--size has no effect without `--model`.", "Name the model too.")
    parameters = parse_size(size) if size else None
    if size and not parameters:
        raise UsageError(f"--size {size} is not a number of parameters.", "Write it like 8B, 1.7B or 360M.")
    run = _run_in(what)
    recipe = run.recipe if run else recipe_of(what, {})
    done = export_job(translate(recipe, model=model, parameters=parameters), TOOLS[trainer], out)
    if as_json:
        values: dict[str, Any] = {
            "folder": str(done.folder),
            "as": trainer,
            "version": done.tool.version,
            "examples": done.examples,
            "heldout": done.heldout,
            "adapted": list(done.job.adapted),
            "differs": done.notes,
            "install": list(done.tool.install(done.job)),
            "run": list(done.tool.run(done.job)),
        }
        return print_json(values, indent=2)
    click.echo(f"Written: {done.folder}, for {done.tool.package} {done.tool.version}")
    for note in done.job.adapted:
        click.echo(f"Adapted to the size: {note}")
    for note in done.notes:
        click.echo(f"Not the same: {note}")
    click.echo(f"Install and run it: see {done.folder / 'README.md'}")


def _run_in(what: str) -> Run | None:
    """The run in a folder of that name; None where the name is a recipe's."""
    from ftdemo.runs.run import Run

    return Run.load(Path(what)) if Path(what).is_dir() else None
