"""What a method starts from: the model it trains, loaded in the number format that the method wants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

    from ftdemo.methods.method import MethodSettings
    from ftdemo.models.load import Source


@dataclass(frozen=True)
class Base:
    """A model that is to be loaded."""

    recipe: MethodSettings
    source: Source
    tokenizer: PreTrainedTokenizerBase
    dtype: torch.dtype
    """Of matrix products."""
    device: torch.device
    labels: tuple[str, ...] = ()
    """The classes of a classifier, in the order of its outputs."""


def in_float32(base: Base) -> Any:
    """A model whose weights are all trained: bfloat16 has 8 bits of precision and would swallow small updates."""
    import torch

    from ftdemo.models.load import load_causal_lm

    return load_causal_lm(base.source, torch.float32)


def frozen(base: Base) -> Any:
    """A model whose weights stay as they are, in the format in which they are multiplied."""
    from ftdemo.models.load import load_causal_lm

    return load_causal_lm(base.source, base.dtype)


def switch_dropout_off(model: Any) -> None:
    """Without dropout, two runs that differ in one setting differ by that setting alone."""
    import torch

    for layer in model.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0
