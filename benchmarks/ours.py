"""The works, carried out by this package."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.meter import Meter, counts_of, heldout_loss, memory_with_imports
from benchmarks.works import Figures, Work
from ftdemo.data import load_splits
from ftdemo.data.sets import high_street
from ftdemo.evaluation.generate import answer_rows
from ftdemo.events import Finished, Step
from ftdemo.models import load as models
from ftdemo.recipe import Recipe, named
from ftdemo.runs.perform import perform
from ftdemo.training import hardware
from ftdemo.training.hardware import pick_dtype
from ftdemo.training.loop import plan_run
from ftdemo.training.loop import train as train_by
from ftdemo.training.prepare import prepare


def train(work: Work) -> Figures:
    """Our loop. Evaluations of the held-out loss are not timed."""
    recipe = work.recipe
    imports = memory_with_imports()
    learner = prepare(recipe.with_settings({"eval_every": None}))
    meter = Meter(work, learner, imports)
    counts = [counts_of(learner, batch) for batch in plan_run(learner)]
    steps: list[Step] = []
    for event in train_by(learner.recipe, learner):
        if isinstance(event, Step):
            steps.append(event)
            meter.look(event.step, event.seconds, lambda: heldout_loss(learner.model, learner))
    return meter.figures(learner.model, seconds=steps[-1].seconds, losses=[step.loss for step in steps], steps=counts)


def predicted_lora(work: Work) -> Figures:
    """LoRA, predicted in a process of its own, then carried out in this one."""
    return _predicted(named("lora", "smollm2"))


def predicted_full(work: Work) -> Figures:
    """Full fine-tuning, the same."""
    return _predicted(named("full", "smollm2"))


def _predicted(recipe: Recipe) -> Figures:
    with tempfile.TemporaryDirectory(prefix="ftdemo-bench-") as folder:
        asked = Path(folder) / "recipe.yaml"
        asked.write_text(recipe.to_yaml(), encoding="utf-8")
        command = [sys.executable, "-m", "ftdemo", "estimate", str(asked), "--json"]
        predicted = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)[
            "this_machine"
        ]
        began = time.perf_counter()
        events = list(perform(recipe, Path(folder) / "run"))
        seconds = time.perf_counter() - began
    ended = next(event for event in events if isinstance(event, Finished))
    return {
        "tokens_per_second": ended.tokens_per_second,
        "seconds": seconds,
        "seconds_predicted": predicted["seconds"],
        "training_seconds": ended.seconds,
        "training_seconds_predicted": predicted["training_seconds"],
        "peak_bytes": float(ended.peak_memory_bytes),
        "peak_bytes_predicted": predicted["memory_bytes"],
    }


def grow_to_10_000(work: Work) -> Figures:
    """Ten thousand rows."""
    return _grow(work, 10_000)


def grow_to_100_000(work: Work) -> Figures:
    """A hundred thousand rows."""
    return _grow(work, 100_000)


def grow_to_1_000_000(work: Work) -> Figures:
    """A million rows."""
    return _grow(work, 1_000_000)


def _grow(work: Work, rows: int) -> Figures:
    """Read a file of so many texts, a sentence each, and train on some of them."""
    imports = memory_with_imports()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.jsonl"
        with file.open("w", encoding="utf-8") as out:
            out.writelines(json.dumps({"text": text}) + "\n" for text in islice(_sentences(), rows))
        began = time.perf_counter()
        learner = prepare(work.recipe.with_settings({"data": str(file)}))
        to_read = time.perf_counter() - began
        loading = hardware.peak_memory(learner.device)
        finished = next(event for event in train_by(learner.recipe, learner) if isinstance(event, Finished))
    return {
        "tokens_per_second": finished.tokens_per_second,
        "seconds": finished.seconds,
        "seconds_to_read": to_read,
        "memory_bytes": float(max(loading, finished.peak_memory_bytes) - imports),
    }


def _sentences() -> Iterator[str]:
    for document in high_street.documents(0):
        yield from (line for line in document.replace(". ", ".\n").splitlines() if line.strip())


def generate(work: Work) -> Figures:
    """All prompts in one batch."""
    imports = memory_with_imports()
    model, tokenizer, rows = answering(work)
    began = time.perf_counter()
    answers = answer_rows(model, tokenizer, rows)
    return answer_figures([answer.text for answer in answers], tokenizer, time.perf_counter() - began, imports)


def answering(work: Work) -> tuple[Any, Any, Any]:
    """The model in the number format that is faster here, its tokenizer, and the rows to answer."""
    import torch

    recipe = work.recipe
    source = models.resolve(recipe.model)
    model = models.load_causal_lm(source, pick_dtype("auto", torch.device("cpu")).dtype).train(False)
    rows = load_splits(recipe.data, seed=recipe.seed).heldout[: recipe.sample_prompts]
    return model, models.load_tokenizer(source), rows


def answer_figures(texts: list[str], tokenizer: Any, seconds: float, imports: int) -> Figures:
    """Tokens of the answers a second, and memory."""
    import torch

    tokens = sum(len(tokenizer(text)["input_ids"]) for text in texts)
    memory = hardware.peak_memory(torch.device("cpu")) - imports
    return {"tokens_per_second": tokens / seconds, "seconds": seconds, "memory_bytes": float(memory)}
