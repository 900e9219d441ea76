"""`Method`: one way of training, as one object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class MethodSettings(Protocol):
    """What methods read of a recipe."""

    model: str
    weights: Any
    seed: int
    max_length: int
    rank: int
    alpha: float
    rank_stabilized: bool
    targets: str | tuple[str, ...]
    width: int
    layers: int


@dataclass(frozen=True)
class Method:
    """One way of training: everything that tells it from the others, so that no other module asks for its name.

    Each is made in a module of its own and registered once, in `ftdemo.methods`.
    """

    name: str
    summary: str
    """What it does, in a line for help texts."""
    load: Callable[[Any], Any]
    """Loads the model to start from, in the number format that the method wants: see `ftdemo.methods.start`."""
    prepare: Callable[[Any, MethodSettings], Any]
    """Decides which weights of the loaded model are trained, and adds those that are new."""
    loss: Callable[[Any, Any, Any], Any]
    """Sum of the loss over a batch's targets, in nats, from model, batch and learner."""
    count_parameters: Callable[[Any, str | Sequence[str], int], int] | None
    """Trained parameters, from the model without weights, targets and rank; none where the data decides too."""
    describe: Callable[[MethodSettings], str]
    """What is trained, as a model card says it."""
    title: str
    """The title of a model card, with the base's `{name}`."""
    is_low_rank: bool = False
    """Whether an adapter is trained next to frozen weights, and only the adapter is saved."""
    peft_config: str = ""
    """PEFT's configuration of the adapter, where one is trained."""
    has_magnitudes: bool = False
    """Whether the adapter also trains a length for each output of a matrix (DoRA)."""
    is_classifier: bool = False
    """Whether the model sorts texts, instead of continuing them."""
    starts_new: bool = False
    """Whether it makes the model and its tokenizer, instead of starting from one that exists."""
    frozen_format: str = ""
    """The format of the frozen weights, where it is not that of the matrix products."""
    optimizers: tuple[str, ...] = ("adamw",)
    keys: frozenset[str] = frozenset()
    """Keys of a recipe that only some methods read, and this one does."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Values that suit this method better than the recipe's own defaults."""
    rate_family: str = "full"
    """Whose learning rates it goes by: ``full`` or ``lora``."""
    rate_factor: float = 1.0
    """How many times the family's learning rate it wants."""
