"""Estimates before training: memory by part, operations, time on an accelerator, and the price at a host.

Every function is a formula over a few numbers, so that a page can show it too. The numbers come from a model's
configuration alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BYTES = {"float32": 4.0, "bfloat16": 2.0, "nf4": 0.5625}
"""Per number, in each format. 4-bit NormalFloat keeps a float32 scale for every 64 numbers (Dettmers et al. 2023)."""
WORKSPACE = 0.45
"""As a share of activations and logits. Measured with SmolLM2 on a CPU under Linux: from 0.41 to 0.56."""
UTILIZATION = 0.3
"""The share of an accelerator's peak that a run reaches: an assumption, used unless a better value is given."""


@dataclass(frozen=True)
class Accelerator:
    """A device that can be rented or bought, as its maker's data sheet describes it."""

    name: str
    peak: float
    """Operations per second on dense matrices in bfloat16, or in float16 if the device has no bfloat16."""
    memory_bytes: float
    source: str


_NVIDIA = "https://www.nvidia.com/en-us/data-center"
ACCELERATORS = {
    "T4": Accelerator("NVIDIA T4", 65e12, 16e9, f"{_NVIDIA}/tesla-t4/"),
    "L4": Accelerator("NVIDIA L4", 121e12, 24e9, f"{_NVIDIA}/l4/"),
    "RTX4090": Accelerator(
        "NVIDIA GeForce RTX 4090",
        165.2e12,
        24e9,
        "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf",
    ),
    "L40S": Accelerator("NVIDIA L40S", 362e12, 48e9, f"{_NVIDIA}/l40s/"),
    "A100": Accelerator("NVIDIA A100 80GB SXM", 312e12, 80e9, f"{_NVIDIA}/a100/"),
    "H100": Accelerator("NVIDIA H100 SXM", 989e12, 80e9, f"{_NVIDIA}/h100/"),
    "H200": Accelerator("NVIDIA H200 SXM", 989e12, 141e9, f"{_NVIDIA}/h200/"),
}
"""Data sheets often print twice these peaks, which hold only for matrices half of whose entries are zero."""


@dataclass(frozen=True)
class Size:
    """The dimensions of a transformer on which its costs depend."""

    total: int
    """Parameters; tied weights count once."""
    matrices: int
    """The parameters in the linear layers that every token passes: all except embeddings and output head."""
    layers: int
    width: int
    """Of the hidden states."""
    inner: int
    """Of the feed-forward layers."""
    heads: int
    key_width: int
    """Of all keys of a token together: less than `width` if several heads share a key."""
    vocabulary: int

    @property
    def outside(self) -> int:
        """Parameters outside the layers' matrices: embeddings, head and norms."""
        return self.total - self.matrices


@dataclass(frozen=True)
class Memory:
    """Bytes that training holds at once, by part."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    """What the forward pass keeps for the backward pass."""
    logits: float
    workspace: float
    """What is held only briefly, and what the allocator does not give back at once."""

    @property
    def total(self) -> float:
        """All parts together."""
        kept = self.activations + self.logits + self.workspace
        return self.weights + self.gradients + self.optimizer + kept


def training_memory(
    size: Size,
    *,
    trainable: int,
    low_rank: bool,
    frozen: str = "float32",
    products: str = "float32",
    batch_tokens: int = 512,
    row_tokens: float = 128,
    trained_tokens: float | None = None,
) -> Memory:
    """The memory that a step of this package's loop holds.

    Trained weights are float32, with a gradient and AdamW's two moments: 16 bytes each. Frozen weights are kept in the
    format in which they are multiplied.

    For each layer and token, the backward pass needs:

    - seven vectors of the hidden states' width: the inputs and the outputs of both norms, the queries, and the output
      of attention before and after its heads are joined;
    - the keys and the values;
    - three vectors of the feed-forward layer's width: the gate, what it gates, and their product;
    - the attention weights: one number per head and token of the row.

    If float32 weights are multiplied in another format, a copy of them in that format is kept as well, and the inputs
    of these products are kept as cast, too: five more vectors.

    Args:
        size: The model's.
        trainable: Trained parameters.
        low_rank: Whether they are beside frozen weights.
        frozen: The format of frozen matrices: float32, bfloat16 or nf4.
        products: The format of matrix products.
        batch_tokens: Tokens of a batch, padding included.
        row_tokens: Tokens of a row.
        trained_tokens: Tokens of a batch that have a loss; by default all of them.
    """
    wide = BYTES[products]
    kept = (size.matrices * BYTES[frozen] + size.outside * wide) if low_rank else 0.0
    casts = not low_rank and products != "float32"
    vectors = 12 if casts else 7
    per_token = vectors * size.width + 2 * size.key_width + 3 * size.inner + size.heads * row_tokens
    activations = wide * size.layers * batch_tokens * per_token
    # Logits are computed only where a token is trained, and their gradient is written over them.
    logits = wide * (batch_tokens if trained_tokens is None else trained_tokens) * size.vocabulary
    return Memory(
        weights=kept + 4.0 * trainable,
        gradients=4.0 * trainable,
        optimizer=8.0 * trainable,
        activations=activations,
        logits=logits,
        workspace=WORKSPACE * (activations + logits) + (wide * size.total if casts else 0.0),
    )


def operations(
    size: Size, *, trainable: int, low_rank: bool, tokens: float, row_tokens: float = 128, trained_share: float = 1.0
) -> float:
    """Multiplications and additions of a run.

    The forward pass takes 2 operations per weight and token, and for attention 4 per layer, hidden number and token of
    the row. The gradients of the inputs take as many, and the gradients of the trained weights as many again (Kaplan et
    al. 2020, section 2.1). So training beside frozen weights takes two thirds of training all of them. The head is
    computed only for tokens that have a loss.

    Args:
        size: The model's.
        trainable: Trained parameters.
        low_rank: Whether they are beside frozen weights.
        tokens: Tokens of the whole run.
        row_tokens: Tokens of a row.
        trained_share: The share of the tokens that have a loss.
    """
    attention = 4.0 * size.layers * size.width * row_tokens / 2  # a token attends to earlier ones: half of the pairs
    body = 2.0 * size.matrices + attention
    head = 2.0 * size.width * size.vocabulary * trained_share
    passes = 2 if low_rank else 3
    adapters = 6.0 * trainable if low_rank else 0.0  # they are trained, so they take all three passes
    return tokens * (passes * (body + head) + adapters)


def seconds_on(accelerator: Accelerator, operations: float, utilization: float = UTILIZATION) -> float:
    """The seconds that an accelerator takes for so many operations, at a share of its peak."""
    return operations / (accelerator.peak * utilization)


def price(tokens: float, per_million: float) -> float:
    """The price of training on so many tokens, given a host's price per million tokens."""
    return tokens * per_million / 1e6


def size_of(config: Any) -> Size:
    """A causal language model's dimensions, from its configuration alone.

    Raises:
        RecipeError: If its configuration does not state them.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    from ftdemo.errors import RecipeError
    from ftdemo.models.shapes import without_weights

    model = without_weights(config, head=True)
    head = model.get_output_embeddings()
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear | Conv1D) and layer is not head]
    try:
        heads = config.num_attention_heads
        head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
        return Size(
            total=sum(weight.numel() for weight in model.parameters()),
            matrices=sum(layer.weight.numel() for layer in layers),
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            inner=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
            heads=heads,
            key_width=(getattr(config, "num_key_value_heads", None) or heads) * head_width,
            vocabulary=config.vocab_size,
        )
    except AttributeError as error:
        what = f"The configuration of this {config.model_type} model does not say {error.name}."
        raise RecipeError(what, "ftdemo estimates causal language models of the usual architecture.") from None
