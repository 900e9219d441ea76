"""How many parameters a model has and how many a method trains, from the configuration alone: no weight is read.

`ftdemo.estimate.memory` predicts what these parameters cost in memory, time and money.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftdemo.errors import RecipeError
from ftdemo.methods import METHODS
from ftdemo.models.shapes import without_weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def countable_methods() -> list[str]:
    """The methods whose parameters follow from the model alone, not from the data."""
    return [name for name, method in METHODS.items() if method.count_parameters]


@dataclass(frozen=True)
class Counts:
    """Parameters of a base model, and those that a method trains."""

    total: int
    """Of the base model; tied weights count once."""
    trainable: int

    @property
    def share(self) -> float:
        """Trainable parameters as a share of the base model's."""
        return self.trainable / self.total


def parameter_counts(
    config: PretrainedConfig,
    *,
    method: str = "lora",
    rank: int = 8,
    targets: str | Sequence[str] = "all-linear",
    head: bool = True,
) -> Counts:
    """The parameters of a model of this configuration, and those that a method trains.

    Both numbers are of parameters, however many bits each takes, so ``qlora`` has those of ``lora``.

    Args:
        config: Any transformers configuration of a causal language model or an encoder. It is not changed.
        method: One of `countable_methods`.
        rank: The rank of the update B A.
        targets: The matrices that get an adapter. See `ftdemo.models.shapes.targeted_matrices`.
        head: Count the causal language model, with its output head, where transformers has one. Otherwise, and for
            an encoder-decoder always, count the bare model.

    Raises:
        RecipeError: If there is no such method, or `targeted_matrices` refuses the targets or the rank.
    """
    count = METHODS[method].count_parameters if method in METHODS else None
    if count is None:
        what = f"`method` is {method!r}, whose parameters cannot be counted without its data."
        raise RecipeError(what, f"Use one of: {', '.join(countable_methods())}.")
    model = without_weights(config, head=head)
    total = sum(weight.numel() for weight in model.parameters())
    return Counts(total, count(model, targets, rank))
