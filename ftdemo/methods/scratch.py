"""Pre-training: a new model and its tokenizer, from random weights."""

from __future__ import annotations

from typing import Any

from ftdemo.methods.full import all_weights
from ftdemo.methods.losses import next_token_loss
from ftdemo.methods.method import Method
from ftdemo.methods.start import Base
from ftdemo.models.catalog import NEW


def random_weights(base: Base) -> Any:
    """A Llama of the recipe's size, or the architecture of a model that exists, with random weights."""
    from ftdemo.models import load, new

    recipe = base.recipe
    if recipe.model == NEW:
        return new.new_llama(base.tokenizer, width=recipe.width, layers=recipe.layers, length=recipe.max_length)
    return load.with_random_weights(base.source, base.labels, base.tokenizer)


SCRATCH = Method(
    name="scratch",
    summary="a new model and its tokenizer, from random weights",
    load=random_weights,
    prepare=all_weights,
    loss=next_token_loss,
    count_parameters=None,
    describe=lambda _recipe: "All weights, from random ones",
    title="A language model from scratch ({name})",
    starts_new=True,
    optimizers=("adamw", "muon"),
    keys=frozenset({"width", "layers", "vocabulary"}),
    defaults={
        "model": NEW,
        "weights": "random",
        "data": "high-street",
        "train_on": "all",
        "packing": True,
        "max_length": 256,
        "lr": 3e-3,
    },
)
