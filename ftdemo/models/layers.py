"""What a loaded model is made of: its adapted layers, its head, its parameters, and the format it computes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def adapted_layers(model: Any) -> list[Any]:
    """The layers that have a LoRA adapter of PEFT's beside them."""
    return [layer for layer in model.modules() if hasattr(layer, "lora_A")]


def use_fused_adapters(adapted: Any) -> None:
    """Let the LoRA layers of a model compute in one function where they are the plain ones."""
    from peft.tuners.lora import Linear

    from ftdemo.models.kernels import use_fused_lora

    for layer in adapted_layers(adapted):
        layer.cast_input_dtype_enabled = False  # autocast does it once; here it would be 210 times
        if type(layer) is Linear and not layer.lora_magnitude_vector:
            use_fused_lora(layer)


def count_parameters(model: Any) -> int:
    """Parameters of a model; of 4-bit weights, two are stored in a byte."""
    return sum(weight.numel() * (1 if weight.is_floating_point() else 2) for weight in model.parameters())


@contextmanager
def hook_head_input(model: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Within this, the model's head receives what `change` makes of the hidden states."""
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _head, inputs: (change(inputs[0]), *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


def precision(model: Any, dtype: torch.dtype | None = None) -> AbstractContextManager[Any]:
    """The number format of a forward pass: where the frozen base is bfloat16, float32 adapters meet it so.

    Args:
        model: A model of transformers or PEFT.
        dtype: Of the matrix products; where none is given, that of the model's own weights.
    """
    import torch

    dtype = dtype or model.dtype
    if dtype == torch.float32 or _casts_itself(model):
        return nullcontext()
    return torch.autocast(model.device.type, dtype=dtype)


def _casts_itself(model: Any) -> bool:
    """Whether all weights but the adapters' are of one format, and the layers with adapters see to theirs."""
    layers = adapted_layers(model)
    return bool(layers) and all("forward" in vars(layer) for layer in layers)
