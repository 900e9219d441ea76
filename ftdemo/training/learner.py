"""`Learner`: a model made ready for a recipe, with the examples it learns from."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftdemo.data import Splits
from ftdemo.data.row_hashes import RowHashes
from ftdemo.data.tokenize import Examples
from ftdemo.methods import METHODS, Method
from ftdemo.models.layers import precision
from ftdemo.models.load import Source
from ftdemo.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Learner:
    """A model made ready for a recipe, and the examples it will learn from. The model's weights change as it trains."""

    recipe: Recipe
    """What is carried out; its learning rate is a number."""
    source: Source
    model: Any
    optimizer: torch.optim.Optimizer
    tokenizer: PreTrainedTokenizerBase
    splits: Splits
    row_hashes: RowHashes
    train: Examples
    heldout: Examples
    labels: tuple[str, ...]
    """The classes of a classifier, in the order of its outputs."""
    device: torch.device
    dtype: torch.dtype
    """Of matrix products. Frozen weights are kept in it; trained weights are float32."""
    attention: str
    reasons: dict[str, str]
    """Why the learning rate and the number format are what they are."""
    notes: tuple[str, ...] = ()
    """What was changed in the recipe because the model cannot do it, a sentence each."""

    @property
    def method(self) -> Method:
        """How the model is trained."""
        return METHODS[self.recipe.method]

    @property
    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """The weights that training changes, by name."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}

    def precision(self) -> AbstractContextManager[Any]:
        """The number format of a forward pass."""
        return precision(self.model, self.dtype)
