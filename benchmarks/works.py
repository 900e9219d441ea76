"""What is timed: a recipe each, the contenders that carry it out, and the held-out loss they race to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ftdemo.recipe import Recipe

Figures = dict[str, float]
_SFT: dict[str, Any] = {
    "model": "smollm2",
    "examples": 96,
    "sample_prompts": 8,
    "eval_every": 2,
    "batch_tokens": 640,
    "warmup": 0,
}
"""Without warm-up: the peers' first step of one would have the learning rate 0."""
_TRAINER = {"transformers Trainer": "peers:trainer", "Trainer, bfloat16": "peers:trainer_bfloat16"}
_PRETRAIN: dict[str, Any] = {
    "method": "scratch",
    "examples": 1500,
    "batch_tokens": 2048,
    "eval_every": 20,
    "warmup": 0,
    "seed": 1,
}


@dataclass(frozen=True)
class Work:
    """A piece of work and those who do it."""

    summary: str
    recipe: Recipe
    contenders: dict[str, str]
    """Each contender's name, and the function ``module:name`` that takes this work and returns its figures."""
    target_loss: float | None = None
    """The held-out loss, in nats, of which the time to reach it is reported."""

    def carry_out(self, contender: str) -> Figures:
        """Let a contender do the work, in this process."""
        module, _, name = self.contenders[contender].partition(":")
        do: Callable[[Work], Figures] = getattr(import_module(f"benchmarks.{module}"), name)
        return do(self)


WORKS = {
    "lora": Work(
        summary="LoRA of SmolLM2-135M on 96 letters, rank 8 on all linear layers",
        recipe=Recipe(method="lora", **_SFT),
        contenders={
            "ftdemo": "ours:train",
            "trl, its defaults": "peers:trl_defaults",
            "trl, tuned": "peers:trl_tuned",
        },
        target_loss=3.6,
    ),
    "full": Work(
        summary="full fine-tuning of SmolLM2-135M on 96 letters",
        recipe=Recipe(method="full", **_SFT),
        contenders={"ftdemo": "ours:train", **_TRAINER},
        target_loss=3.6,
    ),
    "pretrain-1m": Work(
        summary="a model of about 1 million parameters from scratch, 1,500 texts",
        recipe=Recipe(width=128, layers=4, **_PRETRAIN),
        contenders={"ftdemo": "ours:train", **_TRAINER},
        target_loss=4.6,
    ),
    "pretrain-3m": Work(
        summary="a model of about 3 million parameters from scratch, 1,500 texts",
        recipe=Recipe(width=256, layers=4, **_PRETRAIN),
        contenders={"ftdemo": "ours:train", **_TRAINER},
        target_loss=4.6,
    ),
    "growth": Work(
        summary="10 thousand to 1 million short texts: reading them all, then 30 steps",
        recipe=Recipe(method="scratch", max_length=128, batch_tokens=2048, max_steps=30, eval_every=None),
        contenders={
            "10,000 rows": "ours:grow_to_10_000",
            "100,000 rows": "ours:grow_to_100_000",
            "1,000,000 rows": "ours:grow_to_1_000_000",
        },
    ),
    "estimate": Work(
        summary="what `ftdemo estimate` predicts of SmolLM2-135M on 96 letters, and what it then takes",
        recipe=Recipe(model="smollm2"),
        contenders={"lora": "ours:predicted_lora", "full": "ours:predicted_full"},
    ),
    "generate": Work(
        summary="32 answers of SmolLM2-135M, 96 tokens at most",
        recipe=Recipe(model="smollm2", sample_prompts=32),
        contenders={"ftdemo": "ours:generate", "one generate call a prompt": "peers:generate_one_by_one"},
    ),
}
