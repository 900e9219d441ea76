"""Classifiers: a head that sorts texts by the mean of their tokens' vectors, alone or with all weights below it.

Both can start from a classifier that is already trained, and then keep its head where the labels are the same. So a
probe's head can be the start of `classify`: "linear probing, then fine-tuning" (Kumar et al. 2022), which spares the
pre-trained features the large gradients of a random head.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ftdemo.errors import ModelError
from ftdemo.methods.full import all_weights
from ftdemo.methods.losses import label_loss
from ftdemo.methods.method import Method, MethodSettings
from ftdemo.methods.start import Base, switch_dropout_off
from ftdemo.models.pooling import classification_head


def with_new_head(base: Base) -> Any:
    """The model in float32 with a head for the labels, on pre-trained or on random weights.

    The head is new and random, unless the model is a classifier of the same labels: see `load_classifier`.
    """
    from ftdemo.models import load

    make = load.with_random_weights if base.recipe.weights == "random" else load.load_classifier
    return make(base.source, base.labels, base.tokenizer)


def head_only(model: Any, _recipe: MethodSettings) -> Any:
    """A linear probe: the features stay as they are, and one linear layer on top of them learns (Alain & Bengio 2016).

    The features are the mean of the last layer's vectors over a text's tokens: see `use_mean_pooling` for the reason.

    Raises:
        ModelError: If the model has no head that could be told from the rest.
    """
    switch_dropout_off(model)
    model.requires_grad_(False)
    head = classification_head(model)
    if head is None:
        raise ModelError(f"{type(model).__name__} has no classification head.", "Use minilm or smollm2.")
    head.requires_grad_(True)
    return model


def _classifier(
    name: str, lr: float, prepare: Callable[[Any, MethodSettings], Any], *, summary: str, title: str, trains: str
) -> Method:
    return Method(
        name=name,
        summary=summary,
        load=with_new_head,
        prepare=prepare,
        loss=label_loss,
        count_parameters=None,
        describe=lambda _recipe: trains,
        title=title,
        is_classifier=True,
        defaults={"model": "minilm", "data": "routing", "lr": lr},
    )


PROBE = _classifier(
    "probe",
    2e-2,
    head_only,
    summary="one linear layer on frozen features",
    title="Linear probe on {name}",
    trains="One linear layer on frozen features",
)
CLASSIFY = _classifier(
    "classify",
    2e-4,
    all_weights,
    summary="all weights, with a new head that sorts texts",
    title="Classifier from {name}",
    trains="All weights, with a new head",
)
