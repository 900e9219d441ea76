"""VeRA: two random matrices shared by all layers stay frozen, and only two vectors per layer are trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ftdemo.methods.lora import peft_targets, with_adapter
from ftdemo.methods.losses import next_token_loss
from ftdemo.methods.method import Method, MethodSettings
from ftdemo.methods.start import frozen
from ftdemo.models.shapes import targeted_matrices


def add_vera(model: Any, recipe: MethodSettings) -> Any:
    """Freeze the model and put a VeRA adapter next to each targeted matrix.

    A matrix W (d_out x d_in) then acts as W + diag(b) B diag(d) A, where B (d_out x rank) and A (rank x d_in) are
    random, frozen and cut from one pair for the whole model; the vectors b (d_out) and d (rank) are trained. b is zero
    at the start, so that training starts from the base exactly (Kopiczko et al. 2024, equation 2).

    Raises:
        RecipeError: If the targets are not in the model.
    """
    from peft import VeraConfig

    # The seed of A and B is the recipe's: with PEFT's constant one, runs with different seeds would share them.
    config = VeraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        target_modules=peft_targets(recipe),
        projection_prng_key=recipe.seed,
    )
    return with_adapter(model, config, recipe)


def count_vera(model: Any, targets: str | Sequence[str], rank: int) -> int:
    """VeRA trains d_out + rank numbers next to each matrix (Kopiczko et al. 2024, section 3.2).

    Raises:
        RecipeError: If the targets name no matrix.
    """
    # The shared matrices may have any rank, unlike an update of one matrix: the rank 1 is refused by none.
    return sum(matrix.d_out + rank for matrix in targeted_matrices(model, targets, 1))


VERA = Method(
    name="vera",
    summary="two trained vectors per layer next to frozen weights",
    load=frozen,
    prepare=add_vera,
    loss=next_token_loss,
    count_parameters=count_vera,
    describe=lambda recipe: f"A rank-{recipe.rank} VeRA adapter",
    title="VeRA adapter for {name}",
    is_low_rank=True,
    peft_config="VeraConfig",
    keys=frozenset({"rank", "targets"}),
    defaults={"rank": 256},
    rate_family="lora",
    rate_factor=10.0,  # its vectors are few and start small; no run of ours has tried other factors
)
