"""DoRA: LoRA with a trained length for each output of a matrix (Liu et al. 2024)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from ftdemo.methods.lora import LORA, add_lora
from ftdemo.models.shapes import count_dora

DORA = replace(
    LORA,
    name="dora",
    summary="LoRA with a trained length for each output",
    prepare=partial(add_lora, use_dora=True),
    count_parameters=count_dora,
    has_magnitudes=True,
    describe=lambda recipe: f"A rank-{recipe.rank} DoRA adapter (alpha {recipe.alpha:g})",
    title="DoRA adapter for {name}",
)
