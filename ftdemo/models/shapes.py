"""A model's matrices by their shapes, and how many weights each method trains in them or beside them.

Models are built on the meta device, where a matrix is a shape without memory, so 175 billion parameters are counted
in seconds.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftdemo.errors import RecipeError
from ftdemo.models import load as models

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_EXPERT_MATRICES = ("gate_proj", "up_proj", "gate_up_proj", "down_proj", "w1", "w2", "w3")
"""Names of an expert's matrices, whether each is a layer of its own or all experts' are stacked in one tensor."""
_TARGET_NAMES = re.compile(r"[\w.]+(\s*,\s*[\w.]+)*")
"""Names of matrices, separated by commas. Any other text is ``all-linear`` or a regular expression."""
_HOW_TO_TARGET = (
    r"Separate several names by commas. A regular expression has to match a whole name, as .*\.q_proj does."
)


@dataclass(frozen=True)
class Matrix:
    """The shape of a linear layer's weight."""

    d_in: int
    d_out: int

    @property
    def full_rank(self) -> int:
        """The largest rank that a matrix of this shape can have."""
        return min(self.d_in, self.d_out)


def as_targets(text: str) -> str | tuple[str, ...]:
    """Targets that were written as one text: ``q_proj`` or ``q_proj, v_proj`` are names, anything else is a pattern.

    Returns:
        The names; or the text itself, which is ``all-linear`` or a regular expression.

    Raises:
        ValueError: If it is neither a list of names nor a regular expression.
    """
    if _TARGET_NAMES.fullmatch(text.strip()):
        return tuple(name.strip() for name in text.split(","))
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"no regular expression ({error})") from None
    return text


def count_all(model: Any, _targets: str | Sequence[str], _rank: int) -> int:
    """Full fine-tuning trains every weight, except constants such as sinusoidal positions."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def count_lora(model: Any, targets: str | Sequence[str], rank: int) -> int:
    """LoRA trains B (d_out x rank) and A (rank x d_in) beside each matrix (Hu et al. 2021, section 4.1).

    Args:
        model: Any transformers model; its weights are not read.
        targets: The matrices that get an adapter. See `targeted_matrices`.
        rank: The rank of the update B A.

    Raises:
        RecipeError: If `targeted_matrices` refuses the targets or the rank.
    """
    return sum(rank * (matrix.d_in + matrix.d_out) for matrix in targeted_matrices(model, targets, rank))


def count_dora(model: Any, targets: str | Sequence[str], rank: int) -> int:
    """DoRA also trains a magnitude for each of a matrix's d_out rows (Liu et al. 2024, equation 5).

    The paper speaks of columns; its authors' code and PEFT keep one magnitude for each output.
    """
    magnitudes = sum(matrix.d_out for matrix in targeted_matrices(model, targets, rank))
    return count_lora(model, targets, rank) + magnitudes


@models.one_at_a_time
def without_weights(config: PretrainedConfig, *, head: bool) -> Any:
    """The model on the meta device, where making it takes no memory.

    It is made in float32: while transformers makes a model, the model's number format is the default of all threads,
    and a training run in another thread would pick it up.
    """
    import torch
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModel, AutoModelForCausalLM

    models.quiet_transformers()
    causal = head and type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not config.is_encoder_decoder
    with torch.device("meta"):
        make = (AutoModelForCausalLM if causal else AutoModel).from_config
        return make(copy.deepcopy(config), dtype=torch.float32)  # type: ignore[no-untyped-call]


def targeted_matrices(model: Any, targets: str | Sequence[str], rank: int) -> list[Matrix]:
    """The matrices that get an adapter. A layer that the model uses several times, as ALBERT does, gets one.

    Args:
        model: Any transformers model; its weights are not read.
        targets: As PEFT reads them, except that `as_targets` reads a text first. ``all-linear`` is every linear layer
            except the output head; a list names layers by their whole names or the ends of these; any other string is
            a regular expression for a layer's whole name. Embeddings may be named, too. Matrices that a model keeps
            outside layers (XLNet's attention) are left out. Mamba's ``out_proj`` counts, though PEFT refuses to train
            it.
        rank: The rank of the update that each of them gets.

    Raises:
        RecipeError: If the targets name no matrix, or something that is not a matrix, or if the rank is below 1 or
            exceeds what a matrix can have. Also if the targets reach into a mixture's experts that are stacked in one
            tensor: PEFT adapts some such stacks and leaves others alone.
    """
    _refuse_stacked_experts(model, targets)
    matrices = named_matrices(model, targets)
    _refuse_rank_outside(min(matrix.full_rank for matrix in matrices), rank)
    return matrices


def named_matrices(model: Any, targets: str | Sequence[str]) -> list[Matrix]:
    """The matrices that the targets name, whatever else the model has: see `targeted_matrices`.

    Raises:
        RecipeError: If the targets name no matrix, or something that is not a matrix.
    """
    targets = _read(targets)
    head = model.get_output_embeddings() if _is_all_linear(targets) else None
    layers = _linear_layers(model) if _is_all_linear(targets) else dict(model.named_modules())
    named = {name: layer for name, layer in layers.items() if layer is not head and _names(targets, name)}
    if not named:
        what = f"`targets` is {targets_as_text(targets)}, which names no matrix of this model."
        raise RecipeError(what, f"Use all-linear, or some of: {_last_names(model)}. {_HOW_TO_TARGET}")
    return [_matrix(name, layer, targets) for name, layer in named.items()]


def _read(targets: str | Sequence[str]) -> str | Sequence[str]:
    try:
        return as_targets(targets) if isinstance(targets, str) else targets
    except ValueError as error:
        what = f"`targets` is {targets!r}, which is {error}."
        raise RecipeError(what, f"Use all-linear or names of matrices. {_HOW_TO_TARGET}") from None


def targets_as_text(targets: str | Sequence[str]) -> str:
    """Targets as one text: names with commas between them, or a pattern."""
    return targets if isinstance(targets, str) else ", ".join(targets) or "empty"


def _is_all_linear(targets: str | Sequence[str]) -> bool:
    return isinstance(targets, str) and targets.lower() == "all-linear"


def _names(targets: str | Sequence[str], name: str) -> bool:
    """Whether the targets name this layer, by PEFT's rules."""
    if _is_all_linear(targets):
        return True
    if not isinstance(targets, str):
        return any(name == target or name.endswith(f".{target}") for target in targets)
    return re.fullmatch(targets, name) is not None


def _linear_layers(model: Any) -> dict[str, Any]:
    import torch
    from transformers.pytorch_utils import Conv1D

    return {name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear | Conv1D)}


def _last_names(model: Any) -> str:
    """The layers to advise: all but the head, which is usually the embedding, too."""
    head = model.get_output_embeddings()
    layers = {name: layer for name, layer in _linear_layers(model).items() if layer is not head}
    return ", ".join(sorted({name.rpartition(".")[2] for name in layers}))


def _matrix(name: str, layer: Any, targets: str | Sequence[str]) -> Matrix:
    import torch
    from transformers.pytorch_utils import Conv1D

    if isinstance(layer, torch.nn.Linear):
        return Matrix(layer.in_features, layer.out_features)
    if isinstance(layer, Conv1D | torch.nn.Embedding):  # these keep the matrix as d_in x d_out
        return Matrix(*layer.weight.shape)
    kind = type(layer).__name__
    what = f"`targets` is {targets_as_text(targets)}, which also names {name}, which is a {kind} and not a matrix."
    raise RecipeError(what, "Use all-linear, or names that only linear layers have.")


def _refuse_stacked_experts(model: Any, targets: str | Sequence[str]) -> None:
    """Refuse targets among experts whose matrices are stacked in one tensor.

    PEFT gives adapters to some such models' stacks, with twice the rank where two matrices are fused, and leaves
    others' alone.
    """
    targets = _read(targets)
    for name, layer in model.named_modules():
        stacked = "Experts" in type(layer).__name__ and any(weight.ndim == 3 for weight in layer.parameters())
        if stacked and any(_names(targets, f"{name}.{matrix}") for matrix in _EXPERT_MATRICES):
            text = targets_as_text(targets)
            what = f"`targets` is {text}, which reaches into {name}, where the experts' matrices are stacked."
            raise RecipeError(what, f"Use a list of layers outside the experts, some of: {_last_names(model)}.")


def _refuse_rank_outside(limit: int, rank: int) -> None:
    if rank < 1:
        raise RecipeError(f"`rank` is {rank}, but a rank is at least 1.", "4 to 32 are usual.")
    if rank > limit:
        what = f"`rank` is {rank}, but the smallest targeted matrix has only rank {limit}."
        raise RecipeError(what, f"Choose a rank from 1 to {limit}, or leave that matrix out of `targets`.")
