"""Where a run stands, written so that it can go on as if nothing had happened: weights, moments and counters.

Safetensors and JSON only, so that reading one runs no code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ftdemo.errors import UsageError
from ftdemo.training import distributed
from ftdemo.training.early_stop import TrainingState
from ftdemo.training.learner import Learner

if TYPE_CHECKING:
    import torch

FILE = "checkpoint.safetensors"


def gather_checkpoint(learner: Learner, state: TrainingState) -> dict[str, torch.Tensor]:
    """The weights that move and what the optimizer remembers of each: running means of its gradients, say. All whole;
    where they are sharded, all processes have to ask."""
    tensors: dict[str, torch.Tensor] = {}
    for name, weight in learner.trainable.items():
        tensors[f"weight/{name}"] = distributed.gather_full(weight)
        for moment, tensor in _moments(learner, weight).items():
            tensors[f"{moment}/{name}"] = distributed.gather_full(tensor)
    return tensors | {f"best/{name}": distributed.gather_full(weight) for name, weight in state.best_weights.items()}


def save_checkpoint(tensors: dict[str, torch.Tensor], state: TrainingState, folder: Path) -> None:
    """Write what `gather` gave, and how far the run has come."""
    from safetensors.torch import save_file

    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    counters = {key: value for key, value in vars(state).items() if key != "best_weights"}
    save_file(tensors, folder / FILE, metadata={"progress": json.dumps(counters)})


def checkpoint_bytes(learner: Learner) -> int:
    """The most that a checkpoint takes: each trained weight, two moments of it, and with `patience` its best value."""
    trained = sum(weight.nbytes for weight in learner.trainable.values())
    return trained * (3 if learner.recipe.patience is None else 4)


def load_checkpoint(learner: Learner, folder: Path) -> TrainingState:
    """Put a freshly prepared learner where the checkpoint's was.

    Raises:
        UsageError: If there is no checkpoint, or its weights are not the learner's.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / FILE, framework="pt") as file, torch.no_grad():
            counters = json.loads(file.metadata()["progress"])
            counters.setdefault("evaluated_at", counters.pop("looked", 0))  # its name until version 0.1
            moments = _moments_by_weight(file.keys())
            for name, weight in learner.trainable.items():
                weight.copy_(file.get_tensor(f"weight/{name}"))
                state = {moment: file.get_tensor(f"{moment}/{name}").to(weight.device) for moment in moments[name]}
                learner.optimizer.state[weight] = state | {"step": torch.tensor(float(counters["step"]))}
            best = {key.removeprefix("best/"): file.get_tensor(key) for key in file.keys() if key.startswith("best/")}  # noqa: SIM118
            return TrainingState(**counters, best_weights=best)
    except FileNotFoundError:
        raise UsageError(
            f"{folder} holds no {FILE}: the run is complete, or was not made to be continued.",
            "Only a stopped run can be resumed. To train longer, raise `epochs` and start a new run.",
        ) from None
    except (SafetensorError, KeyError, RuntimeError, TypeError, ValueError) as error:
        what = f"{folder / FILE} does not fit this run ({str(error).splitlines()[0][:100]})."
        raise UsageError(what, "It was written by another recipe, or is damaged. Start a new run.") from None


def _moments(learner: Learner, weight: torch.Tensor) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in learner.optimizer.state[weight].items() if key != "step"}


def _moments_by_weight(keys: Iterable[str]) -> dict[str, list[str]]:
    """Which moments a checkpoint holds of each weight, from its tensors' names."""
    found: dict[str, list[str]] = {}
    for kind, _, name in (key.partition("/") for key in keys):
        if kind not in ("weight", "best"):
            found.setdefault(name, []).append(kind)
    return found
