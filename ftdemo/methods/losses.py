"""The losses that methods share, each a sum over a batch's targets, in nats: a scalar in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from ftdemo.models.layers import hook_head_input

if TYPE_CHECKING:
    import torch

    from ftdemo.data.batches import Batch


class LossContext(Protocol):
    """What a loss reads of the learner whose model it is."""

    @property
    def model(self) -> Any:
        """The model without what a launcher wraps around it."""

    def precision(self) -> AbstractContextManager[Any]:
        """The number format of a forward pass."""


def next_token_loss(model: Any, batch: Batch, learner: LossContext) -> torch.Tensor:
    """Cross-entropy of the tokens at the batch's loss positions."""
    from ftdemo.models.kernels import cross_entropy_sum

    inputs: dict[str, Any] = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    if batch.position_ids is not None:
        inputs["position_ids"] = batch.position_ids
    with learner.precision(), logits_only_at(learner.model, batch.loss_positions):
        return cross_entropy_sum(model(**inputs, use_cache=False).logits, batch.targets)


def label_loss(model: Any, batch: Batch, learner: LossContext) -> torch.Tensor:
    """Cross-entropy of the texts' labels."""
    from ftdemo.models.kernels import cross_entropy_sum

    with learner.precision():
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        return cross_entropy_sum(logits[: len(batch.targets)], batch.targets)


def logits_only_at(model: Any, positions: torch.Tensor) -> AbstractContextManager[None]:
    """Within this, the model's head receives only the hidden states at `positions` (bool, rows x length).

    The head turns each hidden state into one logit per word of the vocabulary, a fifth of all work where the vocabulary
    is large and the model small. Logits that no loss reads are not computed: the result is (positions, vocabulary).
    """
    return hook_head_input(model, lambda hidden: hidden[positions])
