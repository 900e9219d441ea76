"""Times each demo as its first visitor meets it, with its own settings, and prints a table.

    python tests/load/table.py [DEMO]...

A server is started anew for each line, so that nothing is loaded or measured yet.
"""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.request
import zipfile
from typing import Any

from load import start

from ftdemo.serving.server import STUDIO, demo_names, load_demo
from ftdemo.ui.training_demo import TrainingDemo

_MODELS = ("tiny", "smollm2")


def main() -> None:
    """Time the demos that are named, or all."""
    asked = sys.argv[1:] or [name for name in demo_names() if name != STUDIO]
    print("| demo | model | first page, s | first step, s | all, s | expected, s | scores before | after |")
    print("| --- | --- | ---: | ---: | ---: | ---: | --- | --- |", flush=True)
    for name in asked:
        for model, settings in _settings(name):
            print("| " + " | ".join(map(str, [name, model, *_time(name, settings)])) + " |", flush=True)


def _settings(name: str) -> list[tuple[str, tuple[Any, ...]]]:
    """What a visitor finds set, for each model that can be chosen; the session's key left out."""
    if name == "transfer-learning":
        return [("minilm", (96, None, ""))]
    demo = next(value for value in vars(load_demo(name)).values() if isinstance(value, TrainingDemo))
    if name == "pre-training":
        return [("new", ("0.5 million", demo.default_examples(demo.first), None, ""))]
    if name == "prompting-rag-fine-tuning":
        return [(task, (task, demo.default_examples(task), None, "")) for task in demo.recipes]
    middle: tuple[Any, ...] = ("completion", True) if name == "sft" else ()
    found = []
    for model in _MODELS:
        if name == "lora":
            recipe = demo.recipes[model]
            found.append((model, (model, recipe.rank, f"{recipe.lr:g}", demo.default_examples(model), False, None, "")))
        else:
            found.append((model, (model, *middle, demo.default_examples(model), None, "")))
    return found


def _time(name: str, settings: tuple[Any, ...]) -> list[str]:
    from gradio_client import Client

    began = time.monotonic()
    process, address = start(name)
    try:
        urllib.request.urlopen(f"{address}/demos/{name}/", timeout=60).read()
        ready = time.monotonic() - began
        visitor = Client(f"{address}/demos/{name}/", verbose=False)
        time.sleep(1)
        began = time.monotonic()
        job = visitor.submit(*settings, "", api_name=f"/train_{name.replace('-', '_')}")
        first = 0.0
        for output in job:
            if not first and re.search(r"(?i)step \d+ of", output[0]):
                first = time.monotonic() - began
        took = time.monotonic() - began
        result = job.result()
        expected = re.search(r"the estimate was ([\d,]+) s", result[0])
        return [f"{ready:.1f}", f"{first:.1f}", f"{took:.1f}", expected[1] if expected else "", *_scores(result)]
    finally:
        process.terminate()
        process.wait(30)


def _scores(result: Any) -> list[str]:
    archive = next(found[0] for value in result if (found := re.findall(r"[^'\"]+\.zip", str(value))))
    with zipfile.ZipFile(archive) as file:
        records = [each for each in file.namelist() if each.endswith("run.json")]
        if len(records) > 1:
            return ["", re.sub("<[^>]+>", " ", result[0]).strip()]
        scores = json.loads(file.read(records[0]))["scores"]
    return [_shown(scores.get(when) or {}) for when in ("before", "after")]


def _shown(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in scores.items())


if __name__ == "__main__":
    main()
