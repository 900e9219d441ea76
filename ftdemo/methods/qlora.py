"""QLoRA: LoRA next to a base whose frozen weights are kept in 4 bits (Dettmers et al. 2023)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ftdemo.methods.lora import LORA
from ftdemo.methods.start import Base


def in_four_bits(base: Base) -> Any:
    """The model with its linear layers in 4-bit NormalFloat, unpacked to the format of the products when used."""
    from ftdemo.models.load import load_quantized

    return load_quantized(base.source, base.dtype, base.device)


QLORA = replace(
    LORA,
    name="qlora",
    summary="LoRA next to weights in 4 bits; needs bitsandbytes",
    load=in_four_bits,
    describe=lambda recipe: f"A rank-{recipe.rank} LoRA adapter (alpha {recipe.alpha:g}) on a 4-bit base",
    title="QLoRA adapter for {name}",
    frozen_format="nf4",
)
