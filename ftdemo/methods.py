"""How each method makes a model ready to be trained: which weights move, and in which number format."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftdemo import models
from ftdemo.batches import Example, encode
from ftdemo.data import Row, Splits, load_splits
from ftdemo.errors import DataError, RecipeError
from ftdemo.hardware import dtype_race, pick_device
from ftdemo.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

_EAGER_UP_TO = 512
"""Longest row, in tokens, for which plain attention beats the fused kernel's slow backward pass on a CPU."""


@dataclass(frozen=True)
class Learner:
    """A model made ready for a recipe, and the examples it will learn from. The model's weights change as it trains."""

    recipe: Recipe
    source: models.Source
    model: Any
    tokenizer: PreTrainedTokenizerBase
    splits: Splits
    train: tuple[Example, ...]
    heldout: tuple[Example, ...]
    dropped_rows: tuple[int, ...]
    device: torch.device
    dtype: torch.dtype
    attention: str

    @property
    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """The weights that training moves, by name."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}


def prepare(recipe: Recipe) -> Learner:
    """Read the rows, load the model and put the method's trainable weights into it.

    The same recipe gives the same starting weights.

    Raises:
        FtdemoError: If data, model and recipe do not go together; the error says why.
    """
    import torch

    splits = load_splits(recipe.data, seed=recipe.seed, examples=recipe.examples)
    device = pick_device(recipe.device)
    source = models.resolve(recipe.model)
    tokenizer = models.load_tokenizer(source)
    train, dropped = _encode_all(splits.train, tokenizer, recipe)
    heldout, _ = _encode_all(splits.heldout[: recipe.sample_prompts], tokenizer, recipe)
    if not train:
        raise DataError(
            f"{recipe.data}: no row has a trained token within its first {recipe.max_length} tokens.",
            "Raise `max_length`, or shorten the prompts.",
        )
    dtype = _pick_dtype(recipe, device)
    attention = _pick_attention(train, device)
    model = models.load_causal_lm(source, dtype, attention)
    torch.manual_seed(recipe.seed)
    return Learner(
        recipe=recipe,
        source=source,
        model=add_lora(model, recipe).to(device),
        tokenizer=tokenizer,
        splits=splits,
        train=tuple(train),
        heldout=tuple(heldout),
        dropped_rows=tuple(dropped),
        device=device,
        dtype=dtype,
        attention=attention,
    )


def add_lora(model: Any, recipe: Recipe) -> Any:
    """Freeze the model and put a low-rank update next to each targeted matrix.

    A matrix W (d_out x d_in) then acts as W + (alpha / rank) B A, with B (d_out x rank) zero at the start and
    A (rank x d_in) random, so that training starts from the base exactly (Hu et al. 2021, section 4.1). Adapters are
    float32 whatever the base is, so that small updates are not rounded away.

    Raises:
        RecipeError: If the targets are not in the model, or the rank exceeds what a matrix can have.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules=recipe.targets if isinstance(recipe.targets, str) else list(recipe.targets),
        lora_dropout=0.0,
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError:
        raise _unknown_targets(model, recipe) from None
    layers = _adapted_layers(adapted)
    _refuse_rank_beyond(min(min(layer.in_features, layer.out_features) for layer in layers), recipe)
    for layer in layers:
        layer.cast_input_dtype_enabled = False  # autocast does it once; here it would be 210 times
    return adapted


def _unknown_targets(model: Any, recipe: Recipe) -> RecipeError:
    import torch

    layers = [name for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)]
    names = ", ".join(sorted({name.rpartition(".")[2] for name in layers}))
    what = f"`targets` is {recipe.targets!r}, which names no matrix of this model."
    return RecipeError(what, f"Use all-linear, or some of: {names}.")


def _refuse_rank_beyond(limit: int, recipe: Recipe) -> None:
    if recipe.rank > limit:
        what = f"`rank` is {recipe.rank}, but the smallest targeted matrix has only rank {limit}."
        raise RecipeError(what, f"Choose a rank from 1 to {limit}; 4 to 32 are usual.")


def precision(model: Any) -> AbstractContextManager[Any]:
    """The number format of a forward pass: where the base is bfloat16, the adapter's float32 weights meet it so."""
    import torch

    dtype = model.get_input_embeddings().weight.dtype
    return nullcontext() if dtype == torch.float32 else torch.autocast(model.device.type, dtype=dtype)


def _adapted_layers(model: Any) -> list[Any]:
    from peft.tuners.lora import LoraLayer

    return [layer for layer in model.modules() if isinstance(layer, LoraLayer)]


def _encode_all(
    rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, recipe: Recipe
) -> tuple[list[Example], list[int]]:
    """The rows as examples, and the numbers of those of which truncation leaves nothing to train."""
    examples = [encode(row, tokenizer, train_on=recipe.train_on, max_length=recipe.max_length) for row in rows]
    kept = [example for example in examples if example.trained_tokens]
    return kept, [example.row for example in examples if not example.trained_tokens]


def _pick_dtype(recipe: Recipe, device: torch.device) -> torch.dtype:
    import torch

    name = dtype_race(str(device)).winner if recipe.dtype == "auto" else recipe.dtype
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def _pick_attention(examples: Sequence[Example], device: torch.device) -> str:
    short = max(map(len, examples)) <= _EAGER_UP_TO
    return "eager" if device.type == "cpu" and short else "sdpa"
