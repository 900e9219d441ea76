"""The places where plain autograd does more than the mathematics asks for, each written out by hand.

A step spends two thirds of its time in products with the model's own matrices, and nothing here can shorten those.
What is left is traffic: copies, casts and buffers. Each function here gives what the plain one gives (tests compare
them) with less of it.
"""

from __future__ import annotations

import types
from typing import Any

import torch
from torch.autograd import Function
from torch.nn import functional
from transformers.activations import SiLUActivation

ATTENTION = "ftdemo"
"""The name under which transformers finds `attention`."""
VERIFIED_MODELS = frozenset({"bert", "llama", "mistral", "qwen2", "qwen3"})
"""Model types whose attention is the plain one, so that ours may stand in for it; tests compare them."""
_SILU = (torch.nn.SiLU, SiLUActivation)
_BUFFER_ELEMENTS = 2**19
"""Elements of the float32 buffer of the loss: 2 MB stay in a processor's cache."""


def cross_entropy_sum(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sum of the cross-entropies of `logits` (n x vocabulary) against `targets` (n), in nats: a float32 scalar.

    The gradient, softmax minus one-hot, is written over the logits in the same pass, where it is asked for. So no
    float32 copy of all the logits is ever made, and they are read from memory once instead of five times. Nobody may
    read them after that, and the gradient can be used by one backward pass alone.
    """
    learns = torch.is_grad_enabled() and logits.requires_grad
    total: torch.Tensor = _CrossEntropySum.apply(logits, targets, learns)  # type: ignore[no-untyped-call]
    return total


class _CrossEntropySum(Function):
    @staticmethod
    def forward(context: Any, logits: torch.Tensor, targets: torch.Tensor, learns: bool) -> torch.Tensor:
        """The sum; where something learns from it, the gradient takes the place of the logits."""
        count, vocabulary = logits.shape
        rows = max(1, min(count, _BUFFER_ELEMENTS // vocabulary))
        buffer = torch.empty(rows, vocabulary, dtype=torch.float32, device=logits.device)
        gradient = logits.detach() if learns else None  # in the memory of the logits
        total = torch.zeros((), dtype=torch.float32, device=logits.device)
        for start in range(0, count, rows):
            target = targets[start : start + rows, None]
            chunk = buffer[: len(target)].copy_(logits[start : start + rows])
            torch.log_softmax(chunk, 1, out=chunk)
            of_targets = chunk.gather(1, target)
            total -= of_targets.sum()
            if gradient is not None:
                softmax = chunk.exp_().scatter_add_(1, target, -torch.ones_like(of_targets))
                gradient[start : start + rows] = softmax
        context.gradient = gradient
        return total

    @staticmethod
    def backward(context: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """The gradient of the logits, which `forward` has laid in their place."""
        return context.gradient.mul_(upstream[0]), None, None


def use_fused_lora(layer: Any) -> None:
    """Let a PEFT LoRA layer over `torch.nn.Linear` compute W x + s B A x in one function.

    Plain autograd keeps and adds two outputs of full width, and scales one, forward and backward. Here the low-rank
    part is added into the product with W in place. Layers that are merged, switched off, or have another number of
    active adapters than one fall back to PEFT's own way.
    """
    layer.forward = types.MethodType(_lora_forward, layer)


def _lora_forward(layer: Any, x: torch.Tensor, *args: Any, **settings: Any) -> torch.Tensor:
    base, names = layer.base_layer, layer.active_adapters
    one = len(names) == 1 and names[0] in layer.lora_A
    if not one or layer.disable_adapters or layer.merged or args or settings:
        plain: torch.Tensor = type(layer).forward(layer, x, *args, **settings)
        return plain
    a, b = layer.lora_A[names[0]].weight, layer.lora_B[names[0]].weight
    with torch.autocast(x.device.type, enabled=False):  # the function casts for itself
        output: torch.Tensor = _LoraLinear.apply(  # type: ignore[no-untyped-call]
            x.to(base.weight.dtype), base.weight, base.bias, a, b, layer.scaling[names[0]]
        )
    return output


class _LoraLinear(Function):
    """y = x Wᵀ + bias + s (x Aᵀ) Bᵀ, for W (d_out x d_in) frozen, A (rank x d_in), B (d_out x rank)."""

    @staticmethod
    def forward(
        context: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        a: torch.Tensor,
        b: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """y, of the shape of x but for its last axis, d_out; s B and x Aᵀ are kept beside x, W and A."""
        flat = x.reshape(-1, x.shape[-1])
        a, scaled_b = a.to(weight.dtype), (b * scale).to(weight.dtype)
        low = flat @ a.t()
        output = functional.linear(flat, weight, bias).addmm_(low, scaled_b.t())
        context.save_for_backward(flat, weight, a, scaled_b, low)
        context.scale = scale
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(context: Any, *upstream: torch.Tensor) -> tuple[Any, ...]:
        """The gradients of x, A and B, in float32 for A and B; W and bias are frozen."""
        flat, weight, a, scaled_b, low = context.saved_tensors
        gradient = upstream[0].reshape(-1, upstream[0].shape[-1])
        low_gradient = gradient @ scaled_b
        to_a = (low_gradient.t() @ flat).float()
        to_b = (gradient.t() @ low).float().mul_(context.scale)
        to_x = None
        if context.needs_input_grad[0]:
            to_x = (gradient @ weight).addmm_(low_gradient, a).view(*upstream[0].shape[:-1], -1)
        return to_x, None, None, to_a, to_b, None


def use_fused_norms(model: Any) -> None:
    """Let the RMS norms of a verified model keep two numbers a token for the backward pass, not four rows in float32.

    They then hold a tenth of the memory.
    """
    for layer in model.modules():
        if type(layer).__name__.endswith("RMSNorm") and hasattr(layer, "variance_epsilon"):
            layer.forward = types.MethodType(_norm_forward, layer)


def _norm_forward(layer: Any, hidden: torch.Tensor) -> torch.Tensor:
    output: torch.Tensor = _RmsNorm.apply(hidden, layer.weight, layer.variance_epsilon)  # type: ignore[no-untyped-call]
    return output


class _RmsNorm(Function):
    """y = w x / sqrt(mean(x²) + epsilon) (Zhang & Sennrich 2019, equation 4), over the last axis, in float32."""

    @staticmethod
    def forward(context: Any, hidden: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        """y, in the number format of x; what is kept is x, w and one over its root mean square."""
        wide = hidden.float()
        scale = torch.linalg.vecdot(wide, wide)[..., None].div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
        context.save_for_backward(hidden, weight, scale)
        output: torch.Tensor = (wide * scale).to(hidden.dtype).mul_(weight.to(hidden.dtype))
        return output

    @staticmethod
    def backward(context: Any, *upstream: torch.Tensor) -> tuple[Any, ...]:
        """The gradients of x and w, each where it is asked for."""
        hidden, weight, scale = context.saved_tensors
        unit = hidden.float() * scale
        gradient = upstream[0].float()
        to_weight = (gradient * unit).flatten(0, -2).sum(0) if context.needs_input_grad[1] else None
        gradient = gradient * weight
        along = torch.linalg.vecdot(gradient, unit)[..., None].div_(hidden.shape[-1])
        to_hidden = gradient.sub_(unit.mul_(along)).mul_(scale).to(hidden.dtype)
        return to_hidden, to_weight, None


def use_fused_gates(model: Any) -> None:
    """Let the gated feed-forward layers of a verified model keep the gate and what it gates, and nothing in between."""
    for layer in model.modules():
        if isinstance(getattr(layer, "act_fn", None), _SILU) and hasattr(layer, "gate_proj"):
            layer.forward = types.MethodType(_gated_forward, layer)


def _gated_forward(layer: Any, hidden: torch.Tensor) -> torch.Tensor:
    gated = _SwiGlu.apply(layer.gate_proj(hidden), layer.up_proj(hidden))  # type: ignore[no-untyped-call]
    output: torch.Tensor = layer.down_proj(gated)
    return output


class _SwiGlu(Function):
    """y = silu(gate) up (Shazeer 2020), for both of one shape."""

    @staticmethod
    def forward(context: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        """y; nothing but gate and up is kept."""
        context.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(context: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of gate and up; silu(gate) is computed anew."""
        gate, up = context.saved_tensors
        to_gate = torch.ops.aten.silu_backward(upstream[0] * up, gate)
        return to_gate, functional.silu(gate).mul_(upstream[0])


def register_attention() -> None:
    """Make `attention` known to transformers under the name `ATTENTION`."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, eager_mask)


def attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **_settings: Any,
) -> tuple[torch.Tensor, None]:
    """softmax(s Q Kᵀ + mask) V (Vaswani et al. 2017, equation 1), for short rows on a CPU.

    Where several query heads share a key head, they go into one product with it: keys and values are not copied.

    Args:
        module: The layer that asks; transformers passes it.
        query: rows x heads x length x width.
        key: rows x key heads x key length x width.
        value: Like `key`.
        attention_mask: rows x 1 x length x key length: added to the scores, or bool, who sees whom.
        scaling: s; one over the square root of the width where none is given.

    Returns:
        The output, rows x length x heads x width, and no weights.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key = query.to(value.dtype), key.to(value.dtype)  # under autocast, rotation leaves them in float32
    with torch.autocast(value.device.type, enabled=False):
        output: torch.Tensor = _Attention.apply(query, key, value, attention_mask, scale)  # type: ignore[no-untyped-call]
    return output, None


class _Attention(Function):
    """P = softmax(s Q Kᵀ + mask), O = P V. Of what is as large as the scores, P alone is kept.

    The gradient of the scores is P (dP - D) with D = dO·O, a number a query (Dao et al. 2022, appendix B).
    """

    @staticmethod
    def forward(
        context: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None,
        scale: float,
    ) -> torch.Tensor:
        """The mixed values, with heads and length in each other's place; the weights are kept."""
        rows, heads, length, width = query.shape
        groups = rows * key.shape[1]
        q, k, v = (query * scale).reshape(groups, -1, width), *(x.reshape(groups, -1, width) for x in (key, value))
        scores = q @ k.transpose(1, 2)
        if mask is not None and mask.dtype == torch.bool:
            scores.view(rows, heads, length, -1).masked_fill_(~mask, torch.finfo(scores.dtype).min)
        elif mask is not None:
            scores.view(rows, heads, length, -1).add_(mask)
        weights = torch.softmax(scores, -1, out=scores)
        mixed = weights @ v
        context.save_for_backward(q, k, v, weights, mixed)
        context.scale, context.shapes = scale, (query.shape, key.shape)
        return mixed.view(query.shape).transpose(1, 2)

    @staticmethod
    def backward(context: Any, *upstream: torch.Tensor) -> tuple[Any, ...]:
        """The gradients of query, key and value; mask and scale have none."""
        q, k, v, weights, mixed = context.saved_tensors
        gradient = upstream[0].transpose(1, 2).reshape(mixed.shape)
        along = (gradient.float() * mixed).sum(-1, keepdim=True).to(mixed.dtype)
        to_scores = (gradient @ v.transpose(1, 2)).sub_(along).mul_(weights)
        like_query, like_key = context.shapes
        return (
            (to_scores @ k).mul_(context.scale).view(like_query),
            (to_scores.transpose(1, 2) @ q).view(like_key),
            (weights.transpose(1, 2) @ gradient).view(like_key),
            None,
            None,
        )
