"""Full fine-tuning: every weight of a pre-trained model is trained."""

from __future__ import annotations

from typing import Any

from ftdemo.errors import ModelError
from ftdemo.methods.losses import next_token_loss
from ftdemo.methods.method import Method, MethodSettings
from ftdemo.methods.start import in_float32, switch_dropout_off
from ftdemo.models.load import is_quantized
from ftdemo.models.shapes import count_all


def all_weights(model: Any, _recipe: MethodSettings) -> Any:
    """Every weight is trained. Dropout is off, so that runs can be compared.

    Raises:
        ModelError: If the weights are quantized.
    """
    if is_quantized(model):
        what = "The model's weights are quantized, so they cannot be trained."
        raise ModelError(what, "Train an adapter beside them (`method: lora`), or start from the unquantized model.")
    switch_dropout_off(model)
    return model.requires_grad_(True)


FULL = Method(
    name="full",
    summary="all weights",
    load=in_float32,
    prepare=all_weights,
    loss=next_token_loss,
    count_parameters=count_all,
    describe=lambda _recipe: "All weights",
    title="{name}, fine-tuned",
    optimizers=("adamw", "muon"),
)
