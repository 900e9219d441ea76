"""LoRA in ten plain lines of PyTorch, written to be read.

Training uses PEFT's layers, computed by the fused function in `ftdemo.models.kernels`. Tests show that all three give
the same outputs and gradients.
"""

from __future__ import annotations

import math

import torch
from torch import nn


class LoRALinear(nn.Module):
    """A frozen linear layer with a trained low-rank update: y = W x + (alpha / r) B A x (Hu et al. 2021, equation 3).

    W (d_out x d_in) and its bias stay as they are. A (r x d_in) starts random, as in PEFT, and B (d_out x r) starts at
    zero, so the layer computes exactly what `base` computes until the first step. A and B are float32 whatever W is,
    because small updates would be rounded away in 16 bits; if W is bfloat16, use the layer under `torch.autocast`.

    Args:
        base: The layer to adapt. Its weights are frozen in place.
        rank: r, which is small beside d_in and d_out. The update trains r (d_in + d_out) weights.
        alpha: Sets the scale of the update, alpha / r. If it stays the same while the rank changes, another learning
            rate is less likely to be needed (Hu et al. 2021, section 4.1).
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.A = nn.Parameter(torch.empty(rank, base.in_features, device=base.weight.device))
        self.B = nn.Parameter(torch.zeros(base.out_features, rank, device=base.weight.device))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x (… x d_in) to y (… x d_out)."""
        frozen: torch.Tensor = self.base(x)
        return frozen + self.scale * (x @ self.A.T @ self.B.T)

    def merged_weight(self) -> torch.Tensor:
        """W + (alpha / r) B A: one matrix (d_out x d_in) that computes the same and costs nothing extra."""
        return self.base.weight + self.scale * self.B @ self.A
