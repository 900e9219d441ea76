"""How many parameters a model has and how many a method moves, from the configuration alone: no weight is read.

Models are built on the meta device, where a matrix is a shape without memory, so 175 billion parameters are counted
in seconds. What memory, time or money the parameters cost is in `ftdemo.estimate.memory`.
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

METHODS = ("full", "lora", "dora", "qlora")
"""The methods whose parameters can be counted."""

_EXPERT_MATRICES = ("gate_proj", "up_proj", "gate_up_proj", "down_proj", "w1", "w2", "w3")
"""What an expert's matrices are called, whether each stands alone or all experts' are stacked."""


@dataclass(frozen=True)
class Counts:
    """Parameters of a base model, and those that a method moves."""

    total: int
    """Of the base model; tied weights count once."""
    trainable: int

    @property
    def share(self) -> float:
        """Trainable parameters as a share of the base model's."""
        return self.trainable / self.total


@dataclass(frozen=True)
class _Matrix:
    d_in: int
    d_out: int

    @property
    def full_rank(self) -> int:
        return min(self.d_in, self.d_out)

    def adapter_parameters(self, rank: int, *, magnitude: bool) -> int:
        return rank * (self.d_in + self.d_out) + (self.d_out if magnitude else 0)


def parameter_counts(
    config: PretrainedConfig,
    *,
    method: str = "lora",
    rank: int = 8,
    targets: str | Sequence[str] = "all-linear",
    head: bool = True,
) -> Counts:
    """The parameters of a model of this configuration, and those that a method moves.

    - ``full``: every weight moves, but for constants such as sinusoidal positions.
    - ``lora``: a matrix W (d_out x d_in) stays as it is; B (d_out x rank) and A (rank x d_in) beside it move, so it
      adds rank (d_in + d_out) (Hu et al. 2021, section 4.1).
    - ``dora``: as ``lora``, and a magnitude for each of W's d_out rows: rank (d_in + d_out) + d_out (Liu et al. 2024,
      equation 5; the paper speaks of columns, its authors' code and PEFT keep one magnitude for each output).
    - ``qlora``: as ``lora``. Both numbers are of parameters, however many bits each takes.

    Args:
        config: Any transformers configuration of a causal language model or an encoder. It is not changed.
        method: ``full``, ``lora``, ``dora`` or ``qlora``.
        rank: The rank of the update B A.
        targets: The matrices that get an adapter, as PEFT reads them. ``all-linear`` is every linear layer but the
            output head; a list names layers by their whole names or the ends of these; any other string is a
            regular expression for a layer's whole name. Embeddings may be named, too. What a model keeps outside of
            layers (XLNet's attention) is left out. Mamba's ``out_proj`` counts, though PEFT refuses to train it.
        head: Count the causal language model, with its output head, where transformers has one. Otherwise, and for
            an encoder-decoder always, count the bare model.

    Raises:
        RecipeError: If there is no such method, the targets name no matrix or something else than matrices, or the
            rank is below 1 or exceeds what a matrix can have. Also if the targets reach into a mixture's experts
            that are stacked in one tensor: PEFT adapts some such stacks and leaves others alone.
    """
    if method not in METHODS:
        raise RecipeError(f"`method` is {method!r}, which is not known.", f"Use one of: {', '.join(METHODS)}.")
    model = without_weights(config, head=head)
    total = sum(weight.numel() for weight in model.parameters())
    if method == "full":
        return Counts(total, sum(weight.numel() for weight in model.parameters() if weight.requires_grad))
    matrices = _targeted(model, targets)
    _refuse_rank_outside(min(matrix.full_rank for matrix in matrices), rank)
    return Counts(total, sum(matrix.adapter_parameters(rank, magnitude=method == "dora") for matrix in matrices))


@models.one_at_a_time
def without_weights(config: PretrainedConfig, *, head: bool) -> Any:
    """The model on the meta device, where making it takes no memory.

    It is made in float32: transformers makes a model's format the default of all threads for that time, and a training
    in another one would take it up.
    """
    import torch
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoModel, AutoModelForCausalLM

    models.quiet_transformers()
    causal = head and type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and not config.is_encoder_decoder
    with torch.device("meta"):
        make = (AutoModelForCausalLM if causal else AutoModel).from_config
        return make(copy.deepcopy(config), dtype=torch.float32)  # type: ignore[no-untyped-call]


def _targeted(model: Any, targets: str | Sequence[str]) -> list[_Matrix]:
    """The matrices that get an adapter. A layer that stands in the model several times, as in ALBERT, gets one."""
    _refuse_stacked_experts(model, targets)
    head = model.get_output_embeddings() if _is_all_linear(targets) else None
    layers = _linear_layers(model) if _is_all_linear(targets) else dict(model.named_modules())
    named = {name: layer for name, layer in layers.items() if layer is not head and _names(targets, name)}
    if not named:
        what = f"`targets` is {targets!r}, which names no matrix of this model."
        raise RecipeError(what, f"Use all-linear, or a list of some of: {_last_names(model)}.")
    return [_matrix(name, layer, targets) for name, layer in named.items()]


def _is_all_linear(targets: str | Sequence[str]) -> bool:
    return isinstance(targets, str) and targets.lower() == "all-linear"


def _names(targets: str | Sequence[str], name: str) -> bool:
    """Whether the targets name this layer, by PEFT's rules."""
    if _is_all_linear(targets):
        return True
    if not isinstance(targets, str):
        return any(name == target or name.endswith(f".{target}") for target in targets)
    try:
        return re.fullmatch(targets, name) is not None
    except re.error as error:
        what = f"`targets` is {targets!r}, which is no regular expression ({error})."
        raise RecipeError(what, r"Use all-linear, a list of names, or an expression such as .*\.q_proj") from None


def _linear_layers(model: Any) -> dict[str, Any]:
    import torch
    from transformers.pytorch_utils import Conv1D

    return {name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear | Conv1D)}


def _last_names(model: Any) -> str:
    return ", ".join(sorted({name.rpartition(".")[2] for name in _linear_layers(model)}))


def _matrix(name: str, layer: Any, targets: str | Sequence[str]) -> _Matrix:
    import torch
    from transformers.pytorch_utils import Conv1D

    if isinstance(layer, torch.nn.Linear):
        return _Matrix(layer.in_features, layer.out_features)
    if isinstance(layer, Conv1D | torch.nn.Embedding):  # these keep the matrix as d_in x d_out
        return _Matrix(*layer.weight.shape)
    what = f"`targets` is {targets!r}, which also names {name}, and that is no matrix but a {type(layer).__name__}."
    raise RecipeError(what, "Use all-linear, or names that only linear layers have.")


def _refuse_stacked_experts(model: Any, targets: str | Sequence[str]) -> None:
    """Refuse targets among experts whose matrices are stacked in one tensor.

    PEFT gives adapters to some such models' stacks, with twice the rank where two matrices are fused, and leaves
    others' alone.
    """
    for name, layer in model.named_modules():
        stacked = "Experts" in type(layer).__name__ and any(weight.ndim == 3 for weight in layer.parameters())
        if stacked and any(_names(targets, f"{name}.{matrix}") for matrix in _EXPERT_MATRICES):
            what = f"`targets` is {targets!r}, which reaches into {name}, where the experts' matrices are stacked."
            raise RecipeError(what, f"Use a list of layers outside the experts, some of: {_last_names(model)}.")


def _refuse_rank_outside(limit: int, rank: int) -> None:
    if rank < 1:
        raise RecipeError(f"`rank` is {rank}, but a rank is at least 1.", "4 to 32 are usual.")
    if rank > limit:
        what = f"`rank` is {rank}, but the smallest targeted matrix has only rank {limit}."
        raise RecipeError(what, f"Choose a rank from 1 to {limit}, or leave that matrix out of `targets`.")
