"""The optimizer of the trained weights: AdamW, or Muon for the matrices and AdamW for the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ftdemo.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Callable


def make_optimizer(model: Any, recipe: Recipe) -> torch.optim.Optimizer:
    """An optimizer over the trained weights, each group with its own learning-rate factor.

    AdamW (Loshchilov & Hutter 2017) decays matrices alone. LoRA+ gives the matrices B `lr_ratio` times the learning
    rate of the matrices A (Hayou et al. 2024, section 4). See `MuonAndAdamW` for the other one.
    """
    groups: dict[tuple[float, float, bool], list[Any]] = {}
    embedding = model.get_input_embeddings().weight if recipe.optimizer == "muon" else None
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            factor = recipe.lr_ratio if ".lora_B." in name else 1.0
            decay = recipe.weight_decay if weight.dim() > 1 else 0.0
            hidden = recipe.optimizer == "muon" and weight.dim() == 2 and weight is not embedding
            groups.setdefault((factor, decay, hidden), []).append(weight)
    settings = [
        {"params": weights, "factor": factor, "weight_decay": decay, "muon": hidden}
        for (factor, decay, hidden), weights in groups.items()
    ]
    if recipe.optimizer == "muon":
        return MuonAndAdamW(settings, lr=recipe.peak_lr)
    return torch.optim.AdamW(settings, lr=recipe.peak_lr, fused=True)


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for the groups marked ``muon``, AdamW for the others.

    AdamW sizes the step of each number of a matrix by itself. Muon takes the matrix as a whole: it moves all its
    directions, the frequent and the rare ones, equally far. Embeddings and norms have no such directions. Muon's steps
    are scaled to the size of AdamW's (Liu et al. 2025, equation 4), so that one learning rate does for both.
    """

    def __init__(self, groups: list[dict[str, Any]], lr: float) -> None:
        self._muon = torch.optim.Muon(
            [group for group in groups if group["muon"]], lr=lr, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        )
        self._adamw = torch.optim.AdamW([group for group in groups if not group["muon"]], lr=lr, fused=True)
        super().__init__([*self._muon.param_groups, *self._adamw.param_groups], {})

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take a step by both. Their groups and moments are this optimizer's, which may have been replaced."""
        both: tuple[tuple[Any, bool], ...] = ((self._muon, True), (self._adamw, False))
        for optimizer, hidden in both:
            optimizer.param_groups = [group for group in self.param_groups if group["muon"] == hidden]
            optimizer.state = self.state
            optimizer.step(closure)
