"""How each method makes a model ready to be trained: which weights move, how, and in which number format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ftdemo.data import BUILT_IN, Labelled, Row, Splits, load_splits
from ftdemo.data.tokenize import Examples, encode_all
from ftdemo.errors import DataError, ModelError, RecipeError
from ftdemo.models import load as models
from ftdemo.models import new
from ftdemo.recipe import Recipe
from ftdemo.training.hardware import dtype_race, pick_device

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

_OURS_UP_TO = 512
"""Longest row, in tokens, for which plain attention beats the fused kernel's slow backward pass on a CPU."""
_MAX_LABELS = 1000


@dataclass(frozen=True)
class Learner:
    """A model made ready for a recipe, and the examples it will learn from. The model's weights change as it trains."""

    recipe: Recipe
    source: models.Source
    model: Any
    optimizer: torch.optim.Optimizer
    tokenizer: PreTrainedTokenizerBase
    splits: Splits
    train: Examples
    heldout: Examples
    labels: tuple[str, ...]
    """The classes of a classifier, in the order of its outputs."""
    device: torch.device
    dtype: torch.dtype
    """Of matrix products. Frozen weights are kept in it; weights that move are float32."""
    attention: str

    @property
    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """The weights that training moves, by name."""
        return {name: weight for name, weight in self.model.named_parameters() if weight.requires_grad}

    def precision(self) -> AbstractContextManager[Any]:
        """The number format of a forward pass."""
        return nullcontext() if _casts_itself(self.model) else _autocast(self.device.type, self.dtype)


@models.one_at_a_time
def prepare(recipe: Recipe) -> Learner:
    """Read the rows, load the model, decide which of its weights move, and make their optimizer.

    The same recipe gives the same starting weights.

    Raises:
        FtdemoError: If data, model and recipe do not go together; the error says why.
    """
    import torch

    from ftdemo.models import kernels
    from ftdemo.training.optimizers import make_optimizer

    models.quiet_transformers()
    splits = load_splits(recipe.data, seed=recipe.seed, examples=recipe.examples)
    _refuse_other_rows(splits, recipe)
    device = pick_device(recipe.device)
    labels = _labels(splits) if recipe.is_classifier else ()
    source, tokenizer = source_and_tokenizer(recipe, splits)
    train = encode_rows(splits.train, tokenizer, recipe, labels)
    if not train:
        raise DataError(
            f"{recipe.data}: no row has a trained token within its first {recipe.max_length} tokens.",
            "Raise `max_length`, or shorten the prompts.",
        )
    heldout = encode_rows(_judged_by(splits, recipe), tokenizer, recipe, labels)
    dtype = _pick_dtype(recipe, device)
    torch.manual_seed(recipe.seed)
    model = _load(source, tokenizer, recipe, dtype, device, labels)
    _refuse_packing_beyond_window(model, recipe)
    attention = _pick_attention(model, train, recipe, device)
    model.set_attn_implementation(attention)
    if model.config.model_type in kernels.VERIFIED_MODELS:
        kernels.use_fused_norms(model)
        kernels.use_fused_gates(model)
    model = _PREPARE[recipe.method](model, recipe).to(device)
    return Learner(
        recipe=recipe,
        source=source,
        model=model,
        optimizer=make_optimizer(model, recipe),
        tokenizer=tokenizer,
        splits=splits,
        train=train,
        heldout=heldout,
        labels=labels,
        device=device,
        dtype=dtype,
        attention=attention,
    )


def all_weights(model: Any, _recipe: Recipe) -> Any:
    """Full fine-tuning and training from scratch: every weight moves. Dropout is off, so that runs can be compared."""
    _switch_dropout_off(model)
    return model.requires_grad_(True)


def head_only(model: Any, _recipe: Recipe) -> Any:
    """A linear probe: the features stay as they are, and one linear layer on top of them learns (Alain & Bengio 2016).

    Raises:
        ModelError: If the model has no head that could be told from the rest.
    """
    _switch_dropout_off(model)
    model.requires_grad_(False)
    head = getattr(model, "classifier", None) or getattr(model, "score", None)
    if head is None:
        raise ModelError(f"{type(model).__name__} has no classification head.", "Use minilm or smollm2.")
    head.requires_grad_(True)
    return model


def add_lora(model: Any, recipe: Recipe) -> Any:
    """Freeze the model and put a low-rank update next to each targeted matrix.

    A matrix W (d_out x d_in) then acts as W + s B A, with B (d_out x rank) zero at the start and A (rank x d_in)
    random, so that training starts from the base exactly (Hu et al. 2021, section 4.1). The scale s is alpha / rank,
    or alpha / sqrt(rank) where rank-stabilized (Kalajdzievski 2023). DoRA splits W + s B A into a direction and a
    trained length per output (Liu et al. 2024, equation 5). Adapters are float32 whatever the base is, so that small
    updates are not rounded away.

    Raises:
        RecipeError: If the targets are not in the model, or the rank exceeds what a matrix can have.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        use_rslora=recipe.rank_stabilized,
        use_dora=recipe.method == "dora",
        target_modules=recipe.targets if isinstance(recipe.targets, str) else list(recipe.targets),
        lora_dropout=0.0,
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError:
        raise _unknown_targets(model, recipe) from None
    layers = adapted_layers(adapted)
    _refuse_rank_beyond(min(min(layer.in_features, layer.out_features) for layer in layers), recipe)
    speed_up(adapted)
    return adapted


def speed_up(adapted: Any) -> None:
    """Let the LoRA layers of a model compute in one function where they are the plain ones."""
    from peft.tuners.lora import Linear

    from ftdemo.models.kernels import use_fused_lora

    for layer in adapted_layers(adapted):
        layer.cast_input_dtype_enabled = False  # autocast does it once; here it would be 210 times
        if type(layer) is Linear and not layer.lora_magnitude_vector:
            use_fused_lora(layer)


def adapted_layers(model: Any) -> list[Any]:
    """The layers that have an adapter of PEFT's beside them."""
    return [layer for layer in model.modules() if hasattr(layer, "lora_A")]


def count_parameters(model: Any) -> int:
    """Parameters of a model; of 4-bit weights, two lie in a byte."""
    return sum(weight.numel() * (1 if weight.is_floating_point() else 2) for weight in model.parameters())


@contextmanager
def hook_head_input(model: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Within this, the model's head sees what `change` makes of the hidden states."""
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _head, inputs: (change(inputs[0]), *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


def precision(model: Any) -> AbstractContextManager[Any]:
    """The number format in which a model answers: where the base is bfloat16, float32 adapters meet it so."""
    return nullcontext() if _casts_itself(model) else _autocast(model.device.type, model.dtype)


_PREPARE = {
    "full": all_weights,
    "scratch": all_weights,
    "classify": all_weights,
    "probe": head_only,
    "lora": add_lora,
    "dora": add_lora,
    "qlora": add_lora,
}


def _autocast(device: str, dtype: torch.dtype) -> AbstractContextManager[Any]:
    import torch

    return nullcontext() if dtype == torch.float32 else torch.autocast(device, dtype=dtype)


def _casts_itself(model: Any) -> bool:
    """Whether all weights but the adapters' are of one format, and the layers with adapters see to theirs."""
    layers = adapted_layers(model)
    return bool(layers) and all("forward" in vars(layer) for layer in layers)


def source_and_tokenizer(recipe: Recipe, splits: Splits) -> tuple[models.Source, PreTrainedTokenizerBase]:
    """Where the recipe's model comes from and the tokenizer that goes with it, which a new model learns first."""
    if recipe.model == "new":
        texts = (text for row in splits.train for text in _texts(row))
        generated = recipe.data in BUILT_IN and BUILT_IN[recipe.data].documents
        corpus = recipe.data if generated else None
        return replace(new.SOURCE, corpus=corpus), new.train_tokenizer(texts, recipe.vocabulary)
    source = models.resolve(recipe.model)
    return source, models.load_tokenizer(source)


def _texts(row: Any) -> list[str]:
    return [turn.content for turn in row.turns] if isinstance(row, Row) else [row.text]


def _load(
    source: models.Source,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
    dtype: torch.dtype,
    device: torch.device,
    labels: tuple[str, ...],
) -> Any:
    """The model in the format its method wants: frozen weights as they are multiplied, moving ones in float32."""
    import torch

    if recipe.model == "new":
        return new.new_llama(tokenizer, width=recipe.width, layers=recipe.layers, length=recipe.max_length)
    if recipe.weights == "random":
        return models.with_random_weights(source, labels, tokenizer)
    if recipe.is_classifier:
        return models.load_classifier(source, labels, tokenizer)
    if recipe.method == "qlora":
        return models.load_quantized(source, dtype, device)
    return models.load_causal_lm(source, dtype if recipe.is_low_rank else torch.float32)


def _switch_dropout_off(model: Any) -> None:
    import torch

    for layer in model.modules():
        if isinstance(layer, torch.nn.Dropout):
            layer.p = 0.0


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


def _refuse_other_rows(splits: Splits, recipe: Recipe) -> None:
    """A classifier learns from labels, everything else from text without them."""
    labelled = isinstance(next(iter(splits.train)), Labelled)
    if labelled and not recipe.is_classifier:
        what = f"{recipe.data} holds texts with labels, but `method` is {recipe.method}, which learns no labels."
        raise RecipeError(what, "Set `method` to classify or probe, or take `label` out of the rows.")
    if recipe.is_classifier and not labelled:
        what = f"`method` is {recipe.method}, but the rows of {recipe.data} have no labels."
        raise RecipeError(what, 'Give rows like {"text": …, "label": …}.')


def _refuse_packing_beyond_window(model: Any, recipe: Recipe) -> None:
    """The mask of packed rows says which text a token belongs to; it would hide how far back a model may look."""
    window = getattr(model.config, "sliding_window", None) or recipe.max_length
    if recipe.packing and window < recipe.max_length:
        what = f"`packing` is true, but this model looks back {window} tokens at most and `max_length` is larger."
        raise RecipeError(what, f"Set `max_length` to {window} or less, or `packing: false`.")


def _labels(splits: Splits) -> tuple[str, ...]:
    labels: set[str] = set()
    for row in splits.train:
        if isinstance(row, Labelled):
            labels.add(row.label)
        if len(labels) > _MAX_LABELS:
            raise DataError(f"There are more than {_MAX_LABELS} labels.", "Is `label` really a class, or free text?")
    if len(labels) < 2:
        raise DataError(
            f"All training rows have the label {labels.pop()!r}.", "A classifier needs two classes or more."
        )
    return tuple(sorted(labels))


def _judged_by(splits: Splits, recipe: Recipe) -> Sequence[Any]:
    """The held-out rows that have a part in the held-out loss: of chats those that are answered, else all."""
    chats = splits.heldout and isinstance(splits.heldout[0], Row)
    return splits.heldout[: recipe.sample_prompts] if chats else splits.heldout


def encode_rows(
    rows: Any, tokenizer: PreTrainedTokenizerBase, recipe: Recipe, labels: tuple[str, ...] = ()
) -> Examples:
    """Rows as examples, with those tokens trained that a recipe says. See `encode_all`."""
    return encode_all(
        rows,
        tokenizer,
        train_on=recipe.train_on,
        train_stop=recipe.train_stop,
        max_length=recipe.max_length,
        labels=labels,
    )


def _pick_dtype(recipe: Recipe, device: torch.device) -> torch.dtype:
    import torch

    name = dtype_race(str(device)).winner if recipe.dtype == "auto" else recipe.dtype
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def _pick_attention(model: Any, examples: Examples, recipe: Recipe, device: torch.device) -> str:
    from ftdemo.models import kernels

    kernels.register_attention()
    longest = recipe.max_length if recipe.packing else max(examples.lengths)
    plain = model.config.model_type in kernels.VERIFIED_MODELS
    return kernels.ATTENTION if device.type == "cpu" and plain and longest <= _OURS_UP_TO else "sdpa"
