"""From a data file to a release: `ftdemo workflow` and `ftdemo judge`."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ftdemo.cli.terminal import UserPath, events_until_stopped, plain_console, print_json, stop_on_ctrl_c
from ftdemo.errors import STOPPED_BY_CTRL_C, UsageError, shell_line

if TYPE_CHECKING:
    from ftdemo.comparison.workflow import Done

_HOST, _PORT = "127.0.0.1", 7861


@click.command("workflow")
@click.argument("plan", metavar="PLAN.yaml", type=UserPath())
@click.option("--step", metavar="NAME", help="Run only this step: check, split, train, evaluate, ab or release.")
@click.option("--again", is_flag=True, help="Run unchanged steps again.")
@click.option("--json", "as_json", is_flag=True, help="Print each step as a line of JSON.")
def workflow_command(plan: Path, step: str | None, again: bool, as_json: bool) -> None:
    """Run all steps from a data file to a release.

    The steps are check, split, train, evaluate, A/B test and release. A plan is a YAML file with at least `data: FILE`.
    Unchanged steps are skipped. Ctrl-C stops after the current step.
    """
    from ftdemo.comparison import workflow as engine
    from ftdemo.events import Step

    if step is not None and step not in engine.STEPS:
        raise UsageError(f"There is no step {step}.", f"The steps are: {', '.join(engine.STEPS)}.")
    read, console = engine.WorkflowPlan.from_yaml(plan), plain_console(stderr=True)
    with stop_on_ctrl_c() as stop, console.status("reading") as status:
        steps = engine.run_workflow(read, only=step, again=again, stop=stop)
        with closing(events_until_stopped(steps, stop)) as events:
            for event in events:
                match event:
                    case Step(step=number, total_steps=total, loss=loss):
                        status.update(f"training: step {number} of {total}, loss {loss:.3f}")
                    case engine.Done():
                        print_json(_as_dict(event)) if as_json else _print_step(event, plan)
                        status.update("working")
    if stop.is_set():
        sys.exit(STOPPED_BY_CTRL_C)


def _as_dict(done: Done) -> dict[str, Any]:
    return {"step": done.step, "again": done.again, **done.result}


def _print_step(done: Done, plan: Path) -> None:
    when = "" if done.again else " (unchanged)"
    if waiting := done.result.get("waiting"):
        click.echo(f"{done.step:<9} {waiting}: {shell_line('ftdemo', 'judge', str(plan))}")
        return
    click.echo(f"{done.step:<9} {_as_text(done.result)}{when}")


def _as_text(result: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_value(value)}" for name, value in result.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_as_text(value)})" if value else "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@click.command("judge")
@click.argument("plan", metavar="PLAN.yaml", type=UserPath())
@click.option("--host", default=_HOST, show_default=True, help="Address to listen on.")
@click.option("--port", default=_PORT, show_default=True, type=click.IntRange(0, 65535), help="Port to listen on.")
def judge_command(plan: Path, host: str, port: int) -> None:
    """Open a page to judge the answers of an A/B test.

    You choose the better answer of each pair, without knowing which model wrote it.
    """
    from ftdemo.comparison import ab_test
    from ftdemo.comparison.workflow import WorkflowPlan
    from ftdemo.serving import server

    folder = WorkflowPlan.from_yaml(plan).out
    ab_test.read_pairs(folder)  # refused before anything is loaded

    def build() -> Any:
        """The page, made once the server is ready for it."""
        from ftdemo.ui.ab_test_page import judging_page

        return judging_page(folder, shell_line("ftdemo", "workflow", str(plan)))

    server.serve(lambda: server.page_app(build), host, port)
