"""LoRA: a low-rank update next to frozen weights. What `dora` and `qlora` share with it is here, too."""

from __future__ import annotations

from typing import Any

from ftdemo.errors import RecipeError, first_line
from ftdemo.methods.losses import next_token_loss
from ftdemo.methods.method import Method, MethodSettings
from ftdemo.methods.start import frozen
from ftdemo.models.layers import adapted_layers, use_fused_adapters
from ftdemo.models.shapes import count_lora, named_matrices, targets_as_text

LORA_KEYS = frozenset({"rank", "alpha", "rank_stabilized", "lr_ratio", "targets"})
"""What a recipe decides of a LoRA adapter."""


def add_lora(model: Any, recipe: MethodSettings, *, use_dora: bool = False) -> Any:
    """Freeze the model and put a low-rank update next to each targeted matrix.

    A matrix W (d_out x d_in) then acts as W + s B A, with B (d_out x rank) zero at the start and A (rank x d_in)
    random, so that training starts from the base exactly (Hu et al. 2021, section 4.1). The scale s is alpha / rank,
    or alpha / sqrt(rank) where rank-stabilized (Kalajdzievski 2023). DoRA splits W + s B A into a direction and a
    trained length per output (Liu et al. 2024, equation 5). Adapters are float32 whatever the base is, so that small
    updates are not rounded away.

    Raises:
        RecipeError: If the targets are not in the model, or the rank exceeds what a matrix can have.
    """
    from peft import LoraConfig

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        use_rslora=recipe.rank_stabilized,
        use_dora=use_dora,
        target_modules=peft_targets(recipe),
        lora_dropout=0.0,
    )
    adapted = with_adapter(model, config, recipe)
    limit = min(min(layer.in_features, layer.out_features) for layer in adapted_layers(adapted))
    if recipe.rank > limit:
        what = f"`rank` is {recipe.rank}, but the smallest targeted matrix has only rank {limit}."
        raise RecipeError(what, f"Choose a rank from 1 to {limit}; 4 to 32 are usual.")
    use_fused_adapters(adapted)
    return adapted


def peft_targets(recipe: MethodSettings) -> str | list[str]:
    """The recipe's targets as PEFT reads them."""
    return recipe.targets if isinstance(recipe.targets, str) else list(recipe.targets)


def with_adapter(model: Any, config: Any, recipe: MethodSettings) -> Any:
    """The model, frozen, with the adapter of PEFT's that a configuration describes.

    Raises:
        RecipeError: If the targets name no matrix of the model, or one that PEFT gives no adapter.
    """
    from peft import get_peft_model

    named_matrices(model, recipe.targets)
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        what = f"`targets` is {targets_as_text(recipe.targets)}, but PEFT puts no adapter there: {first_line(error)}."
        raise RecipeError(what, "Use all-linear, or leave that matrix out of `targets`.") from None


LORA = Method(
    name="lora",
    summary="a low-rank update next to frozen weights",
    load=frozen,
    prepare=add_lora,
    loss=next_token_loss,
    count_parameters=count_lora,
    describe=lambda recipe: f"A rank-{recipe.rank} LoRA adapter (alpha {recipe.alpha:g})",
    title="LoRA adapter for {name}",
    is_low_rank=True,
    peft_config="LoraConfig",
    keys=LORA_KEYS,
    rate_family="lora",
)
