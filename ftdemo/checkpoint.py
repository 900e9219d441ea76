"""Where a run stands, written so that it can go on as if nothing had happened: weights, moments and counters.

Safetensors and JSON only, so that reading one runs no code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdemo import processes
from ftdemo.errors import UsageError
from ftdemo.methods import Learner
from ftdemo.train import Progress

if TYPE_CHECKING:
    import torch

FILE = "checkpoint.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW remembers of each weight's gradients: their running mean and the running mean of their squares."""


def gather(learner: Learner, progress: Progress) -> dict[str, torch.Tensor]:
    """The weights that move and AdamW's moments of them, whole; where they are sharded, all processes have to ask."""
    tensors: dict[str, torch.Tensor] = {}
    for name, weight in learner.trainable.items():
        tensors[f"weight/{name}"] = processes.whole(weight)
        for moment in _MOMENTS:
            tensors[f"{moment}/{name}"] = processes.whole(learner.optimizer.state[weight][moment])
    return tensors | {f"best/{name}": processes.whole(weight) for name, weight in progress.best_weights.items()}


def save(tensors: dict[str, torch.Tensor], progress: Progress, folder: Path) -> None:
    """Write what `gather` gave, and how far the run has come."""
    from safetensors.torch import save_file

    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    counters = {key: value for key, value in vars(progress).items() if key != "best_weights"}
    save_file(tensors, folder / FILE, metadata={"progress": json.dumps(counters)})


def load(learner: Learner, folder: Path) -> Progress:
    """Put a freshly prepared learner where the checkpoint's was.

    Raises:
        UsageError: If there is no checkpoint, or its weights are not the learner's.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / FILE, framework="pt") as file, torch.no_grad():
            counters = json.loads(file.metadata()["progress"])
            for name, weight in learner.trainable.items():
                weight.copy_(file.get_tensor(f"weight/{name}"))
                state: dict[str, Any] = {moment: file.get_tensor(f"{moment}/{name}") for moment in _MOMENTS}
                state = {moment: tensor.to(weight.device) for moment, tensor in state.items()}
                learner.optimizer.state[weight] = state | {"step": torch.tensor(float(counters["step"]))}
            best = {key.removeprefix("best/"): file.get_tensor(key) for key in file.keys() if key.startswith("best/")}  # noqa: SIM118
            return Progress(**counters, best_weights=best)
    except FileNotFoundError:
        raise UsageError(
            f"{folder} holds no {FILE}: the run is complete, or was not made to be continued.",
            "Only a run that was stopped can go on. To train longer, raise `epochs` and train anew.",
        ) from None
    except (SafetensorError, KeyError, RuntimeError, TypeError, ValueError) as error:
        what = f"{folder / FILE} does not fit this run ({str(error).splitlines()[0][:100]})."
        raise UsageError(what, "It was written by another recipe, or is damaged. Train anew.") from None
