"""What a loaded model is made of: its adapted layers, its head, its parameters, and the format it computes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from ftdemo.errors import ModelError

if TYPE_CHECKING:
    import torch


def adapted_layers(model: Any) -> list[Any]:
    """The layers that have a LoRA adapter of PEFT's beside them."""
    return [layer for layer in model.modules() if hasattr(layer, "lora_A")]


def use_fused_adapters(adapted: Any) -> None:
    """Let the LoRA layers of a model compute in one function where they are the plain ones."""
    import torch
    from peft.tuners.lora import Linear

    from ftdemo.models.kernels import use_fused_lora

    for layer in adapted_layers(adapted):
        layer.cast_input_dtype_enabled = False  # autocast does it once; here it would be 210 times
        plain = isinstance(getattr(layer, "base_layer", None), torch.nn.Linear)  # GPT-2 has Conv1D, which is not
        if type(layer) is Linear and plain and not layer.lora_magnitude_vector:
            use_fused_lora(layer)


def merge_adapter(adapted: Any) -> Any:
    """A model of PEFT's with its adapter added to the weights.

    If embedding and head share one matrix and only one of them has an adapter, the head gets a matrix of its own first:
    the update of one would change the other, too.
    """
    if _has_adapter_on_tied_matrix(adapted):
        import torch

        head = _without_adapter(adapted.get_output_embeddings())
        head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        adapted.config.tie_word_embeddings = False
    return adapted.merge_and_unload()


def _has_adapter_on_tied_matrix(adapted: Any) -> bool:
    ends = adapted.get_input_embeddings(), adapted.get_output_embeddings()
    if ends[1] is None or _without_adapter(ends[0]).weight is not _without_adapter(ends[1]).weight:
        return False
    return any(_without_adapter(end) is not end for end in ends)


def _without_adapter(layer: Any) -> Any:
    return getattr(layer, "base_layer", layer)


def refuse_unknown_tokens(model: Any, tokenizer: Any, ids: torch.Tensor) -> None:
    """Refuse tokens for which the model has no embedding.

    Raises:
        ModelError: If there is one; the message names it.
    """
    rows, largest = model.get_input_embeddings().weight.shape[0], int(ids.max())
    if largest >= rows:
        raise unknown_token(tokenizer, largest, rows, "The text")


def unknown_token(tokenizer: Any, number: int, rows: int, where: str) -> ModelError:
    """The error for a token that the tokenizer has and the model has not.

    Args:
        tokenizer: Made the token.
        number: The token's.
        rows: For how many tokens the model has an embedding.
        where: What holds the token, to begin a sentence with.
    """
    what = f"{where} has the token {tokenizer.convert_ids_to_tokens(number)} ({number}), but the model knows only "
    return ModelError(
        f"{what}{rows:,} tokens.",
        "Leave it out of the text. Or make room for it, `model.resize_token_embeddings(len(tokenizer))`, save the "
        "model and train all weights.",
    )


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
        dtype: The number format of the matrix products; by default, that of the model's own weights.
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
