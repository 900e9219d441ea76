"""`ftdemo record`: runs experiments and writes their records."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftdemo.cli.terminal import UserPath, hangup_as_ctrl_c, plain_console
from ftdemo.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator

    from ftdemo.experiments.fault_spec import FaultCases
    from ftdemo.experiments.runner import RunProgress
    from ftdemo.experiments.spec import Experiment


_REPORT_SECONDS = 60
"""Seconds between two printed losses of a run."""


@click.command("record")
@click.argument("names", metavar="[EXPERIMENT]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Run every experiment.")
@click.option("--quick", is_flag=True, help="Run the quick form: one seed and shorter runs.")
@click.option("--check", is_flag=True, help="Repeat the quick form and report changed verdicts and losses.")
@click.option("--decide", is_flag=True, help="Decide the claims again from the recorded runs, without training.")
@click.option(
    "--keep",
    type=UserPath(),
    help="Keep the runs in this folder, and reuse those in it.",
)
@click.option(
    "--folder",
    type=UserPath(),
    default="docs/experiments",
    show_default=True,
    help="Folder of the experiments.",
)
def record_command(
    names: tuple[str, ...],
    everything: bool,
    quick: bool,
    check: bool,
    decide: bool,
    keep: Path | None,
    folder: Path,
) -> None:
    """Run experiments and write their records.

    A record contains every arm with every seed, and the verdict on each claim. `find-the-fault` is a collection of runs
    with a planted fault, and its record says whether every fault shows; `--all` leaves it out.
    """
    from ftdemo.experiments.fault_spec import find_fault_cases
    from ftdemo.experiments.spec import find_experiments

    known, collections = find_experiments(folder), find_fault_cases(folder)
    if not names and not everything:
        raise UsageError(
            "No experiment is given.", f"Name some, or use --all: {', '.join(known) or f'none is in {folder}'}."
        )
    if names and everything:
        raise UsageError("Experiments are named together with --all.", "Use only one of the two.")
    if decide and (check or quick):
        raise UsageError(f"--{'check' if check else 'quick'} has no effect with --decide.", "Leave it out.")
    if keep and (check or decide):
        raise UsageError(f"--keep has no effect with --{'check' if check else 'decide'}.", "Leave it out.")
    if unknown := [name for name in names if name not in known and name not in collections]:
        there = ", ".join([*known, *collections])
        raise UsageError(f"There is no experiment {unknown[0]} in {folder}.", f"The experiments are: {there}.")
    changed = []
    for name in names or known:
        if name in collections:
            if quick or decide:
                raise UsageError(f"{name} has no quick form and no claims.", "Run it in full, or with `--check`.")
            changed += _record_faults(collections[name], check, keep)
        elif decide:
            _decide_again(known[name])
        elif check:
            changed += _check_experiment(known[name])
        else:
            _record_experiment(known[name], quick, keep)
    click.echo("\n".join(changed), nl=bool(changed))
    sys.exit(1 if changed else 0)


def _record_experiment(found: Experiment, quick: bool, keep: Path | None) -> None:
    from ftdemo.experiments import runner
    from ftdemo.experiments import spec as experiment

    if quick and not found.spec.quick:
        raise UsageError(f"{found.name} has no quick form.", "Run it in full, without `--quick`.")
    with hangup_as_ctrl_c(), runner.run_folder(keep and keep / found.name) as runs:
        if not quick:
            _print_claims(_run(found, False, runs / "whole"), found.folder / experiment.RECORD)
            if found.spec.ships:
                runner.ship(found, runs / "whole")
        if found.spec.quick:
            _print_claims(_run(found, True, runs / "quick"), found.folder / experiment.QUICK)


def _decide_again(found: Experiment) -> None:
    """Write the verdicts that the recorded runs give now, after a claim or its bound has changed."""
    from ftdemo.experiments import spec as experiment

    for file in (experiment.RECORD, experiment.QUICK):
        if record := found.record(file):
            findings = experiment.decide(found.spec, record["runs"], quick=record["quick"])
            _print_claims({**record, "claims": experiment.as_record(findings)}, found.folder / file)


def _check_experiment(found: Experiment) -> list[str]:
    """What differs when the quick form is repeated, by more than it may."""
    from ftdemo.experiments import runner
    from ftdemo.experiments import spec as experiment
    from ftdemo.experiments.check import TOLERANCE, compare_records

    if not found.spec.quick:
        return []  # too long to repeat for a check
    recorded = found.record(experiment.QUICK)
    if recorded is None:
        return [f"{found.name}: no {experiment.QUICK} is recorded. Run `ftdemo record {found.name} --quick`."]
    with runner.run_folder(None) as runs:
        again = _run(found, True, runs)
    repetition = compare_records(recorded, again)
    click.echo(
        f"{found.name}: {len(recorded['claims'])} verdicts and {repetition.losses} held-out losses compared. "
        f"Largest difference of a loss: {repetition.largest:.2%} (tolerance {TOLERANCE:.0%})."
    )
    return [f"{found.name}: {problem}" for problem in repetition.problems]


def _record_faults(found: FaultCases, check: bool, keep: Path | None) -> list[str]:
    """Record runs with a planted fault, or repeat them. What does not show or differs is returned, a sentence each."""
    from ftdemo.experiments.fault_runs import compare_fault_records, hidden_symptoms, run_fault_cases
    from ftdemo.experiments.runner import run_folder, write_record
    from ftdemo.experiments.spec import RECORD

    recorded = found.record() if check else None
    if check and recorded is None:
        return [f"{found.name}: no {RECORD} is recorded. Run `ftdemo record {found.name}`."]
    with hangup_as_ctrl_c(), run_folder(keep and keep / found.name) as runs:
        record = _follow(found.name, run_fault_cases(found, runs))
    if recorded is None:
        write_record(record, found.folder / RECORD)
        click.echo(f"Written: {found.folder / RECORD}, {record['seconds']:.0f} s")
        return [f"{found.name}: {hidden}" for hidden in hidden_symptoms(record)]
    repetition = compare_fault_records(found.spec, recorded, record)
    click.echo(
        f"{found.name}: {repetition.losses} held-out losses compared, largest difference {repetition.largest:.2%}."
    )
    return [f"{found.name}: {problem}" for problem in repetition.problems]


def _run(found: Experiment, quick: bool, runs: Path) -> dict[str, Any]:
    """An experiment's record."""
    from ftdemo.experiments.runner import run_experiment

    return _follow(found.name, run_experiment(found, quick=quick, folder=runs))


def _follow(name: str, running: Generator[RunProgress | dict[str, Any]]) -> dict[str, Any]:
    """The record with which runs end. Meanwhile a line shows the current run."""
    from ftdemo.events import Evaluated, Finished, Step

    console, record, reported = plain_console(stderr=True), {}, 0.0
    with closing(running), console.status(name) as status:
        for progress in running:
            if isinstance(progress, dict):
                record = progress
                continue
            run = f"{name}: {progress.run} ({progress.place} of {progress.of})"
            match progress.event:
                case Step(step=step, total_steps=total, loss=loss):
                    status.update(f"{run}, step {step} of {total}, loss {loss:.3f}")
                case Evaluated(step=step, loss=loss) if time.monotonic() - reported > _REPORT_SECONDS:
                    console.print(f"{run}: held-out loss after step {step}: {loss:.3f}")
                    reported = time.monotonic()
                case Finished(seconds=seconds):
                    console.print(f"{run}: {seconds:.0f} s of training")
    return record


def _print_claims(record: dict[str, Any], path: Path) -> None:
    from ftdemo.experiments.runner import write_record
    from ftdemo.experiments.spec import claim_in_words

    write_record(record, path)
    for claim in record["claims"]:
        click.echo(f"  {claim['verdict']:<13} {claim['says']} {claim_in_words(claim)}, {claim['bound']}")
    click.echo(f"Written: {path}, {record['seconds']:.0f} s")
