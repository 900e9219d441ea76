"""Early stopping (Prechelt 1998): keep the best weights, and stop when the held-out loss no longer improves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ftdemo.events import Evaluated
from ftdemo.training import distributed
from ftdemo.training.learner import Learner

if TYPE_CHECKING:
    import torch


@dataclass
class TrainingState:
    """How far a run has come: with the weights and the optimizer's moments, all that resuming it needs."""

    step: int = 0
    evaluated_at: int = 0
    """The step after which the held-out loss was last measured."""
    tokens: int = 0
    seconds: float = 0.0
    best_loss: float = math.inf
    """Of the held-out losses so far, where `patience` is set."""
    best_step: int | None = None
    stale: int = 0
    """Evaluations since the best one."""
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)


def is_out_of_patience(learner: Learner, state: TrainingState) -> bool:
    """Whether the held-out loss has not improved for as many evaluations as the recipe bears."""
    patience = learner.recipe.patience
    return patience is not None and state.stale >= patience


def note_evaluation(evaluated: Evaluated, learner: Learner, state: TrainingState) -> None:
    """Keep the weights where the held-out loss is the lowest so far; else count the evaluation."""
    state.evaluated_at = evaluated.step
    if learner.recipe.patience is None:
        return  # a copy of the weights would cost their memory again
    if evaluated.loss < state.best_loss:
        state.best_loss, state.best_step, state.stale = evaluated.loss, evaluated.step, 0
        state.best_weights = {name: distributed.copy_local(weight) for name, weight in learner.trainable.items()}
    else:
        state.stale += 1


def restore_best(learner: Learner, state: TrainingState) -> None:
    """Put the best weights back, where some were kept."""
    import torch

    with torch.no_grad():
        for name, weight in learner.trainable.items() if state.best_weights else ():
            weight.copy_(distributed.shard_like(state.best_weights[name], weight))
