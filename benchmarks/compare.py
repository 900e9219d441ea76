"""Runs the contenders of a work in turns, each in its own process, and takes the medians."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable

from benchmarks.works import WORKS, Figures
from ftdemo.errors import TrainingError


def time_contenders(work: str, runs: int, say: Callable[[str], None], only: tuple[str, ...] = ()) -> dict[str, Figures]:
    """Run every contender `runs` times, in turn, and return the median of each of its figures.

    Args:
        work: A key of `WORKS`.
        runs: How many rounds.
        say: Is told of each run as it ends.
        only: The contenders to run, where not all.

    Returns:
        For each contender, as far as the work has them, its ``tokens_per_second`` (real text, padding not counted),
        ``seconds``, the mean ``loss`` of all steps, ``seconds_to_loss`` (in training, until the held-out loss first was
        the work's target or less; absent if it never was), ``share_of_matmul_rate``, ``memory_bytes`` (the most it held
        above what the interpreter holds with its imports) and ``seconds_to_read`` all rows.

    Raises:
        TrainingError: If a contender's process fails; its last words are in the error.
    """
    names = [name for name in WORKS[work].contenders if not only or name in only]
    figures: dict[str, list[Figures]] = {name: [] for name in names}
    for round_number in range(1, runs + 1):
        for name, measured in figures.items():
            measured.append(_in_own_process(work, name))
            say(f"round {round_number}: {name} {measured[-1]['tokens_per_second']:.0f} tokens/s")
    return {name: _medians(measured) for name, measured in figures.items()}


def _medians(measured: list[Figures]) -> Figures:
    keys = [key for key in measured[0] if all(key in run for run in measured)]
    return {key: statistics.median(run[key] for run in measured) for key in keys}


def _in_own_process(work: str, name: str) -> Figures:
    command = [sys.executable, "-m", "benchmarks.compare", work, name]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise TrainingError(
            f"The contender {name} failed: {last}", "Install what it needs: `pip install 'ftdemo[bench]'`."
        )
    figures: Figures = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


if __name__ == "__main__":
    print(json.dumps(WORKS[sys.argv[1]].carry_out(sys.argv[2])))
