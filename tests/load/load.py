"""Measure the demos under load: cold start, memory, twenty visitors at once, a page beside a training, and a soak.

    python tests/load/load.py [--runs N] [--minutes M]

It prints its figures as JSON, and fails where a run fails or two visitors' results are mixed.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from typing import Any

import psutil

_VISITORS = 20
_EXAMPLES = 16
_SECONDS = 900


def main() -> None:
    """Start a server, put it under load, and print what was measured."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--runs", type=int, default=100, help="runs in all, by visitors that come and go")
    asked.add_argument("--minutes", type=float, default=0.0, help="go on with runs for so long")
    given = asked.parse_args()
    found: dict[str, Any] = {}
    began = time.monotonic()
    process, url = start("lora")
    try:
        _get(f"{url}/demos/lora/")
        found["cold start to the first page, seconds"] = round(time.monotonic() - began, 1)
        _visitor(url).predict("tiny", 4, "0.006", 8, False, None, "", "", api_name="/train_lora")
        found["cold start to the first trained model, seconds"] = round(time.monotonic() - began, 1)
        found["memory at rest, MB"] = _memory(process)
        found |= _class_of_twenty(url)
        found |= _page_beside_training(url)
        found |= _many_runs(url, process, given.runs, given.minutes)
    finally:
        process.terminate()
        process.wait(30)
    print(json.dumps(found, indent=2))


def start(demo: str) -> tuple[subprocess.Popen[str], str]:
    """A server of a demo, and its address."""
    command = [sys.executable, "-m", "ftdemo", "demo", demo, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if ready := re.search(r"Ready at (http://\S+)/", line):
            return process, ready[1]
    raise SystemExit("the server did not start")


def _visitor(url: str) -> Any:
    from gradio_client import Client

    return Client(f"{url}/demos/lora/", verbose=False)


def _get(url: str) -> float:
    began = time.monotonic()
    with urllib.request.urlopen(url, timeout=60) as answer:
        answer.read()
    return time.monotonic() - began


def _memory(process: subprocess.Popen[str]) -> int:
    return round(psutil.Process(process.pid).memory_info().rss / 1e6)


def _submit(visitor: Any, rank: int) -> Any:
    return visitor.submit("tiny", rank, "0.006", _EXAMPLES, False, None, "", "", api_name="/train_lora")


def _refuse_mixed(result: Any, rank: int) -> None:
    command = str(result[6])
    if "weights trained" not in result[0] or (rank != 8 and not re.search(rf"rank={rank}\b", command)):
        raise SystemExit(f"the run with rank {rank} came out as: {result[0]} {command}")


def _class_of_twenty(url: str) -> dict[str, Any]:
    visitors = [_visitor(url) for _ in range(_VISITORS)]
    began = time.monotonic()
    jobs = [_submit(visitor, rank) for rank, visitor in enumerate(visitors, 1)]
    took = []
    for rank, job in enumerate(jobs, 1):
        _refuse_mixed(job.result(timeout=_SECONDS), rank)
        took.append(time.monotonic() - began)
    places = sum(any("Waiting" in output[0] for output in job.outputs()) for job in jobs)
    for visitor in visitors:
        visitor.close()
    return {
        "twenty visitors: all done after, seconds": round(took[-1], 1),
        "twenty visitors: half done after, seconds": round(statistics.median(took), 1),
        "twenty visitors: who saw their place": places,
    }


def _page_beside_training(url: str) -> dict[str, Any]:
    visitor = _visitor(url)
    job = visitor.submit("tiny", 8, "0.006", 120, False, None, "", "", api_name="/train_lora")
    while not any("Step" in output[0] for output in job.outputs()):
        time.sleep(0.05)
    loads = [_get(f"{url}/demos/lora/") for _ in range(10)]
    key = job.outputs()[-1][-1]
    job.result(timeout=_SECONDS)
    ask = ("How was the voyage to Merrin?", "latest adapter", key)
    began = time.monotonic()
    visitor.predict(*ask, api_name="/ask_lora")
    alone = time.monotonic() - began
    other = _visitor(url)
    job = other.submit("tiny", 8, "0.006", 120, False, None, "", "", api_name="/train_lora")
    while not any("Step" in output[0] for output in job.outputs()):
        time.sleep(0.05)
    began = time.monotonic()
    visitor.predict(*ask, api_name="/ask_lora")
    beside = time.monotonic() - began
    job.result(timeout=_SECONDS)
    return {
        "page beside a training, seconds, slowest of ten": round(max(loads), 2),
        "an answer, seconds, alone": round(alone, 1),
        "an answer, seconds, beside a training": round(beside, 1),
    }


def _many_runs(url: str, process: subprocess.Popen[str], runs: int, minutes: float) -> dict[str, Any]:
    """Runs one after another, each by a visitor who comes and goes, until there were so many and so long."""
    began, done = time.monotonic(), 0
    memory: dict[int, int] = {}
    lock = threading.Lock()

    def come_and_go() -> None:
        nonlocal done
        while True:
            with lock:
                if done >= runs and time.monotonic() - began > 60 * minutes:
                    return
                done += 1
                mine = done
            visitor = _visitor(url)
            rank = mine % 16 + 1
            _refuse_mixed(_submit(visitor, rank).result(timeout=_SECONDS), rank)
            visitor.close()
            with lock:
                memory[mine] = _memory(process)

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(memory) < done:
        raise SystemExit(f"{done - len(memory)} of {done} runs failed")
    early = memory[min(10, done)]
    return {
        "runs": done,
        "minutes": round((time.monotonic() - began) / 60, 1),
        "memory after 10 runs, MB": early,
        "memory after all, MB": memory[done],
        "growth": round(memory[done] / early - 1, 3),
    }


if __name__ == "__main__":
    main()
