"""The places where plain autograd does more than the mathematics asks for, each written out by hand.

A step spends two thirds of its time multiplying by the model's own matrices, and nothing here can shorten that. The
rest is memory traffic: copies, casts and buffers. Each function here gives the same result as the plain one, which
tests compare, with less traffic.
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
"""Model types whose attention, norms and gates ours can replace, because they are the plain ones; tests compare."""
_SILU = (torch.nn.SiLU, SiLUActivation)
_BUFFER_ELEMENTS = 2**19
"""Elements of the loss's float32 buffer: 2 MB, which stay in a processor's cache."""


def cross_entropy_sum(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sum of the cross-entropies of `logits` (n x vocabulary) against `targets` (n), in nats: a float32 scalar.

    If a gradient is needed, softmax minus one-hot is written over the logits in the same pass. So no float32 copy of
    all logits is ever made, and they are read from memory once instead of five times. The logits must not be read
    afterwards, and only one backward pass can use the gradient.
    """
    # Inside a Function gradients are always off, so whether one is needed can be seen only from here.
    needs_gradient = torch.is_grad_enabled() and logits.requires_grad
    total: torch.Tensor = _CrossEntropySum.apply(logits, targets, needs_gradient)  # type: ignore[no-untyped-call]
    return total


class _CrossEntropySum(Function):
    @staticmethod
    def forward(context: Any, logits: torch.Tensor, targets: torch.Tensor, needs_gradient: bool) -> torch.Tensor:
        """The sum; if a gradient is needed, it replaces the logits."""
        count, vocabulary = logits.shape
        # A few rows at a time, because a float32 copy of 512 x 49,152 logits would take 100 MB, too much for a cache.
        rows = max(1, min(count, _BUFFER_ELEMENTS // vocabulary))
        buffer = torch.empty(rows, vocabulary, dtype=torch.float32, device=logits.device)
        # A detached tensor shares the logits' memory and their version counter, so that autograd raises an error,
        # and does not compute nonsense, if another gradient needs the values that are overwritten here.
        gradient = logits.detach() if needs_gradient else None
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
        """The gradient of the logits, which `forward` has written in their place."""
        return context.gradient.mul_(upstream[0]), None, None


def use_fused_lora(layer: Any) -> None:
    """Let a PEFT LoRA layer over `torch.nn.Linear` compute W x + s B A x in one function.

    Plain autograd keeps two outputs of full width, scales one and adds them, forward and backward. Here the low-rank
    part is added to the product with W in place. A layer that is merged, disabled, or has more or fewer active
    adapters than one falls back to PEFT's own forward pass. `ftdemo.models.lora` has the same layer in plain PyTorch.
    """
    layer.forward = types.MethodType(_lora_forward, layer)


def _lora_forward(layer: Any, x: torch.Tensor, *args: Any, **settings: Any) -> torch.Tensor:
    base, names = layer.base_layer, layer.active_adapters
    one = len(names) == 1 and names[0] in layer.lora_A
    if not one or layer.disable_adapters or layer.merged or args or settings:
        plain: torch.Tensor = type(layer).forward(layer, x, *args, **settings)
        return plain
    a, b = layer.lora_A[names[0]].weight, layer.lora_B[names[0]].weight
    # Autocast does not reach a Function's backward pass, so _LoraLinear casts by itself, the same in both passes.
    with torch.autocast(x.device.type, enabled=False):
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
        """y, of x's shape except for the last axis, d_out; s B and x Aᵀ are kept as well as x, W and A."""
        flat = x.reshape(-1, x.shape[-1])  # addmm_ takes matrices only
        # B has d_out x rank numbers and the output tokens x d_out, so scaling B is far less work. It is scaled in
        # float32 and rounded once.
        a, scaled_b = a.to(weight.dtype), (b * scale).to(weight.dtype)
        low = flat @ a.t()
        output = functional.linear(flat, weight, bias).addmm_(low, scaled_b.t())
        context.save_for_backward(flat, weight, a, scaled_b, low)
        context.scale = scale
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(context: Any, *upstream: torch.Tensor) -> tuple[Any, ...]:
        """The gradients of x, A and B, in float32 for A and B; W and bias are frozen.

        With g the gradient of y: dA = (s g B)ᵀ x, dB = s gᵀ (x Aᵀ), dx = g W + (s g B) A.
        """
        flat, weight, a, scaled_b, low = context.saved_tensors
        gradient = upstream[0].reshape(-1, upstream[0].shape[-1])
        low_gradient = gradient @ scaled_b
        to_a = (low_gradient.t() @ flat).float()
        to_b = (gradient.t() @ low).float().mul_(context.scale)
        to_x = None
        if context.needs_input_grad[0]:  # the first layer's input is a frozen embedding: nothing below it learns
            to_x = (gradient @ weight).addmm_(low_gradient, a).view(*upstream[0].shape[:-1], -1)
        return to_x, None, None, to_a, to_b, None


def use_fused_norms(model: Any) -> None:
    """Let the RMS norms of a verified model keep their input and one number per token for the backward pass.

    Plain autograd keeps four float32 vectors per token, ten times the memory.
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
        """y, in the number format of x; x, w and 1 / sqrt(mean(x²) + epsilon) are kept."""
        wide = hidden.float()
        # vecdot squares and adds in one pass, without a tensor of squares.
        scale = torch.linalg.vecdot(wide, wide)[..., None].div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
        context.save_for_backward(hidden, weight, scale)
        # Rounded before the product with w, as in transformers, which thus computes the same from the saved weights.
        output: torch.Tensor = (wide * scale).to(hidden.dtype).mul_(weight.to(hidden.dtype))
        return output

    @staticmethod
    def backward(context: Any, *upstream: torch.Tensor) -> tuple[Any, ...]:
        """The gradients of x, and of w if it is trained.

        With u = x / rms(x): dw = sum of dy u, dx = (w dy - u mean(u w dy)) / rms(x). The subtracted part points along
        x: a longer x has the same u, so its length can have no gradient.
        """
        hidden, weight, scale = context.saved_tensors
        unit = hidden.float() * scale
        gradient = upstream[0].float()
        to_weight = (gradient * unit).flatten(0, -2).sum(0) if context.needs_input_grad[1] else None
        gradient = gradient * weight
        along = torch.linalg.vecdot(gradient, unit)[..., None].div_(hidden.shape[-1])
        to_hidden = gradient.sub_(unit.mul_(along)).mul_(scale).to(hidden.dtype)
        return to_hidden, to_weight, None


def use_fused_gates(model: Any) -> None:
    """Let the gated feed-forward layers of a verified model keep their two inputs, and nothing in between."""
    for layer in model.modules():
        if isinstance(getattr(layer, "act_fn", None), _SILU) and hasattr(layer, "gate_proj"):
            layer.forward = types.MethodType(_gated_forward, layer)


def _gated_forward(layer: Any, hidden: torch.Tensor) -> torch.Tensor:
    gated = _SwiGlu.apply(layer.gate_proj(hidden), layer.up_proj(hidden))  # type: ignore[no-untyped-call]
    output: torch.Tensor = layer.down_proj(gated)
    return output


class _SwiGlu(Function):
    """y = silu(gate) up (Shazeer 2020), for two inputs of one shape."""

    @staticmethod
    def forward(context: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        """y; only gate and up are kept."""
        context.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(context: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The gradients of gate and up."""
        gate, up = context.saved_tensors
        # silu(gate) is computed again, because keeping it would take half as much memory again.
        to_gate = torch.ops.aten.silu_backward(upstream[0] * up, gate)
        return to_gate, functional.silu(gate).mul_(upstream[0])


def register_attention() -> None:
    """Make `attention` known to transformers under the name `ATTENTION`."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register(ATTENTION, attention)
    # Without a mask function for its name, transformers would give our attention no mask at all.
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
    """softmax(s Q Kᵀ + mask) V (Vaswani et al. 2017, equation 1), for short sequences on a CPU.

    There the backward pass of torch's fused kernel is slow, because it computes the weights again to save memory. Query
    heads that share a key head are multiplied with it in one product, so keys and values are not copied.

    Args:
        module: The calling layer; transformers passes it.
        query: rows x heads x length x width.
        key: rows x key heads x key length x width.
        value: Like `key`.
        attention_mask: rows x 1 x length x key length: numbers to add to the scores, or bool, true where a query may
            attend to a key.
        scaling: s; by default 1 / sqrt(width).

    Returns:
        The output, rows x length x heads x width, and None for the weights, which transformers expects there.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    query, key = query.to(value.dtype), key.to(value.dtype)  # under autocast, rotary embedding leaves them in float32
    with torch.autocast(value.device.type, enabled=False):
        output: torch.Tensor = _Attention.apply(query, key, value, attention_mask, scale)  # type: ignore[no-untyped-call]
    return output, None


class _Attention(Function):
    """P = softmax(s Q Kᵀ + mask), O = P V. P is the only tensor as large as the scores that is kept.

    The gradient of the scores is P (dP - D) with D = dO·O, one number per query (Dao et al. 2022, appendix B).
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
        """O, with the axes of heads and length swapped; s Q, K, V, P and O are kept."""
        rows, heads, length, width = query.shape
        groups = rows * key.shape[1]
        # Queries that share a key head become one long matrix. They are scaled here because there are fewer of their
        # numbers than of scores once a sequence is longer than a head is wide.
        q, k, v = (query * scale).reshape(groups, -1, width), *(x.reshape(groups, -1, width) for x in (key, value))
        scores = q @ k.transpose(1, 2)
        if mask is not None and mask.dtype == torch.bool:
            # Not minus infinity: a position of padding may attend to nothing, and its softmax would be NaN.
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
        # Summed in float32, because this number is subtracted from every score's gradient.
        along = (gradient.float() * mixed).sum(-1, keepdim=True).to(mixed.dtype)
        to_scores = (gradient @ v.transpose(1, 2)).sub_(along).mul_(weights)
        like_query, like_key = context.shapes
        return (
            (to_scores @ k).mul_(context.scale).view(like_query),
            (to_scores.transpose(1, 2) @ q).view(like_key),  # q is scaled already
            (weights.transpose(1, 2) @ gradient).view(like_key),
            None,
            None,
        )
