"""Timings: our loop against TRL's SFTTrainer on the same rows, in alternating runs, each in a process of its own.

Timings live here and not in tests: a busy machine is no failure.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from ftdemo.errors import TrainingError
from ftdemo.recipe import Recipe

RECIPE = Recipe(examples=32, sample_prompts=0, eval_every=None)
"""One pass over 32 rows of support-voice; every contender trains the same adapter on them."""


def compare(runs: int, say: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Run every contender `runs` times, in turn, and return the median of its figures.

    Returns:
        For each contender its ``tokens_per_second`` (real text, padding not counted), ``seconds`` of training, the
        mean ``loss`` of all steps and ``peak_memory_bytes`` of its process.

    Raises:
        TrainingError: If a contender's process fails; its last words are in the error.
    """
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for round_number in range(1, runs + 1):
        for name, measured in figures.items():
            measured.append(_in_own_process(name))
            say(f"round {round_number}: {name} {measured[-1]['tokens_per_second']:.0f} tokens/s")
    return {
        name: {key: statistics.median(run[key] for run in measured) for key in measured[0]}
        for name, measured in figures.items()
    }


def _in_own_process(name: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-m", "ftdemo.bench", name], capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise TrainingError(
            f"The contender {name} failed: {last}", "Install what it needs: `pip install 'ftdemo[bench]'`."
        )
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def _ours() -> dict[str, float]:
    from ftdemo.events import Finished, Step
    from ftdemo.train import train

    events = list(train(RECIPE))
    finished = next(event for event in events if isinstance(event, Finished))
    losses = [event.loss for event in events if isinstance(event, Step)]
    return _figures(finished.tokens, finished.seconds, statistics.fmean(losses))


def _trl_defaults() -> dict[str, float]:
    return _trl({}, {})


def _trl_tuned() -> dict[str, float]:
    import torch

    return _trl(
        {"dtype": torch.bfloat16, "attn_implementation": "eager"},
        {
            "gradient_checkpointing": False,
            "bf16": True,
            "per_device_train_batch_size": 4,
            "train_sampling_strategy": "group_by_length",
        },
    )


def _trl(model_settings: dict[str, Any], settings: dict[str, Any]) -> dict[str, float]:
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from ftdemo import models
    from ftdemo.batches import encode
    from ftdemo.data import load_splits

    source = models.resolve(RECIPE.model)
    tokenizer = models.load_tokenizer(source)
    rows = load_splits(RECIPE.data, seed=RECIPE.seed, examples=RECIPE.examples).train
    tokens = sum(len(encode(row, tokenizer, train_on="completion", max_length=RECIPE.max_length)) for row in rows)
    data = Dataset.from_list([{"prompt": row.messages[:-1], "completion": row.messages[-1:]} for row in rows])
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(
            output_dir=folder,
            num_train_epochs=1,
            learning_rate=RECIPE.lr,
            report_to=[],
            save_strategy="no",
            logging_steps=1,
            disable_tqdm=True,
            use_cpu=True,
            model_init_kwargs=model_settings or None,
            **settings,
        )
        adapter = LoraConfig(task_type="CAUSAL_LM", r=RECIPE.rank, lora_alpha=RECIPE.alpha, target_modules="all-linear")
        trainer = SFTTrainer(
            source.path, args=config, train_dataset=data, processing_class=tokenizer, peft_config=adapter
        )
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return _figures(tokens, seconds, statistics.fmean(losses))


def _figures(tokens: int, seconds: float, loss: float) -> dict[str, float]:
    import torch

    from ftdemo.hardware import peak_memory

    return {
        "tokens_per_second": tokens / seconds,
        "seconds": seconds,
        "loss": loss,
        "peak_memory_bytes": peak_memory(torch.device("cpu")),
    }


CONTENDERS: dict[str, Callable[[], dict[str, float]]] = {
    "ftdemo": _ours,
    "trl, its defaults": _trl_defaults,
    "trl, tuned": _trl_tuned,
}

if __name__ == "__main__":
    print(json.dumps(CONTENDERS[sys.argv[1]]()))
