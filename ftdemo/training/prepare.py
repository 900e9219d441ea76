"""From a recipe to a learner: load the rows, tokenize them, load the model, adapt it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ftdemo.data import BUILT_IN, AnyRow, Labelled, Row, Splits, load_splits
from ftdemo.data.row_hashes import RowHashes, TrainingRows
from ftdemo.data.tokenize import Examples, encode_all
from ftdemo.errors import DataError, RecipeError, first_line
from ftdemo.methods import METHODS
from ftdemo.methods.start import Base
from ftdemo.models import load, new
from ftdemo.models.catalog import NEW, LearningRate, known_learning_rate, usual_learning_rate
from ftdemo.models.layers import count_parameters, unknown_token
from ftdemo.models.tokenizer import embedding_rows
from ftdemo.recipe import Recipe
from ftdemo.training.hardware import pick_device, pick_dtype
from ftdemo.training.learner import Learner
from ftdemo.training.notes import refuse_patience_without_loss

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

_OURS_UP_TO = 512
"""Longest row, in tokens, for which plain attention beats the fused kernel's slow backward pass on a CPU."""
_MAX_LABELS = 1000


@load.one_at_a_time
def prepare(recipe: Recipe, splits: Splits | None = None) -> Learner:
    """Read the rows, tokenize them, load the model, and adapt it: decide which of its weights are trained.

    The same recipe gives the same starting weights.

    Args:
        recipe: What is to be carried out.
        splits: Other rows than those that the recipe's data holds.

    Raises:
        FtdemoError: If data, model and recipe do not go together; the error says why.
    """
    from ftdemo.training.optimizers import make_optimizer

    load.quiet_transformers()
    rows = load_rows(recipe, splits)
    device = pick_device(recipe.device)
    examples = tokenize(rows, recipe)
    recipe = examples.recipe
    refuse_patience_without_loss(recipe, rows.splits, examples.heldout)
    number_format = pick_dtype(recipe.dtype, device)
    base = Base(recipe, examples.source, examples.tokenizer, number_format.dtype, device, rows.labels)
    model, attention = load_model(recipe, base, examples.train)
    rate = _learning_rate(recipe, model)
    recipe = recipe if recipe.lr else recipe.with_settings({"lr": rate.value})
    adapted = METHODS[recipe.method].prepare(model, recipe).to(device)
    return Learner(
        recipe=recipe,
        source=examples.source,
        model=adapted,
        optimizer=make_optimizer(adapted, recipe),
        tokenizer=examples.tokenizer,
        splits=rows.splits,
        row_hashes=examples.row_hashes,
        train=examples.train,
        heldout=examples.heldout,
        labels=rows.labels,
        device=device,
        dtype=number_format.dtype,
        attention=attention,
        reasons={"lr": rate.reason, "dtype": number_format.reason},
        notes=examples.notes,
    )


@dataclass(frozen=True)
class LoadedRows:
    """The rows of a recipe's data, and the classes they belong to, where they have labels."""

    splits: Splits
    labels: tuple[str, ...]


def load_rows(recipe: Recipe, splits: Splits | None = None) -> LoadedRows:
    """Read the recipe's data and split it, unless it is given split already.

    Raises:
        FtdemoError: If it cannot be read, or the method learns from another kind of rows.
    """
    splits = splits or load_splits(recipe.data, seed=recipe.seed, examples=recipe.examples)
    _refuse_other_rows(splits, recipe)
    return LoadedRows(splits, _labels(splits, recipe) if recipe.is_classifier else ())


@dataclass(frozen=True)
class Tokenized:
    """Rows as a model reads them."""

    recipe: Recipe
    """With a `max_length` that the model can read."""
    source: load.Source
    tokenizer: PreTrainedTokenizerBase
    train: Examples
    heldout: Examples
    row_hashes: RowHashes
    notes: tuple[str, ...]
    """What was changed in the recipe, a sentence each."""


def tokenize(rows: LoadedRows, recipe: Recipe) -> Tokenized:
    """Encode the rows for the recipe's model; a new model's tokenizer is trained on them first.

    Raises:
        FtdemoError: If there is no such model, or no row has a trained token within `max_length`.
    """
    source, tokenizer = source_and_tokenizer(recipe, rows.splits)
    recipe, notes = within_window(recipe, source)
    trained = TrainingRows()
    train = encode_rows(trained.passing(rows.splits.train), tokenizer, recipe, rows.labels)
    if not train:
        raise DataError(
            f"{recipe.data}: no example has a trained token within its first {recipe.max_length} tokens.",
            "Raise `max_length`, or shorten the prompts.",
        )
    heldout = encode_rows(evaluated_rows(rows.splits, recipe), tokenizer, recipe, rows.labels)
    for examples in (train, heldout):
        refuse_unknown_tokens_in(examples, source, tokenizer)
    return Tokenized(recipe, source, tokenizer, train, heldout, trained.with_heldout(rows.splits.heldout), notes)


def within_window(recipe: Recipe, source: load.Source) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with a `max_length` that its model can read, and a sentence if that is less than it says."""
    window = load.context_window(source)
    if window is None or recipe.max_length <= window:
        return recipe, ()
    reads = f"{recipe.model} reads at most {window:,} tokens"
    note = f"`max_length` is {recipe.max_length:,}, but {reads}. It is set to {window:,}."
    return recipe.with_settings({"max_length": window}), (note,)


def refuse_unknown_tokens_in(examples: Examples, source: load.Source, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse examples with a token for which the model has no embedding.

    Raises:
        ModelError: If there is one; the message names the row and the token.
    """
    rows = embedding_rows(source.path) if source.path else None
    if rows is None or examples.largest_id < rows:
        return
    example = next(example for example in examples if max(example.input_ids) >= rows)
    raise unknown_token(tokenizer, max(example.input_ids), rows, f"Example {example.row}")


def load_model(recipe: Recipe, base: Base, examples: Examples) -> tuple[Any, str]:
    """The model that the method starts from, with the kernels that are fastest for these examples.

    Returns:
        The model, and the name of the attention that it uses.
    """
    import torch

    from ftdemo.models import kernels

    torch.manual_seed(recipe.seed)  # new weights and new adapters are drawn after this, in this order
    model = METHODS[recipe.method].load(base)
    _refuse_packing_beyond_window(model, recipe)
    attention = _pick_attention(model, examples, recipe, base.device)
    try:
        model.set_attn_implementation(attention)
    except ValueError as error:
        what = f"`attention` is {attention}, which {recipe.model} does not have: {first_line(error)}."
        raise RecipeError(what, "Set `attention: auto`.") from None
    if model.config.model_type in kernels.VERIFIED_MODELS:
        kernels.use_fused_norms(model)
        kernels.use_fused_gates(model)
    return model, attention


def _learning_rate(recipe: Recipe, model: Any) -> LearningRate:
    """The recipe's peak learning rate, or the usual one for the model's size, and why it is this one."""
    method = METHODS[recipe.method]
    if recipe.lr is None:
        return usual_learning_rate(count_parameters(model), method.rate_family, method.rate_factor)
    if "lr" in recipe.model_fields_set:
        return LearningRate(recipe.lr, "set in the recipe")
    known = known_learning_rate(recipe.model, method.rate_family, method.rate_factor)
    return known if known and known.value == recipe.lr else LearningRate(recipe.lr, f"the usual one for {method.name}")


def source_and_tokenizer(recipe: Recipe, splits: Splits) -> tuple[load.Source, PreTrainedTokenizerBase]:
    """Where the recipe's model comes from and the tokenizer that goes with it, which a new model learns first."""
    if recipe.model == NEW:
        texts = (text for row in splits.train for text in _texts(row))
        generated = recipe.data in BUILT_IN and BUILT_IN[recipe.data].documents
        corpus = recipe.data if generated else None
        return replace(new.SOURCE, corpus=corpus), new.train_tokenizer(texts, recipe.vocabulary)
    source = load.resolve(recipe.model)
    return source, load.load_tokenizer(source)


def _texts(row: Any) -> list[str]:
    return [turn.content for turn in row.turns] if isinstance(row, Row) else [row.text]


def _refuse_other_rows(splits: Splits, recipe: Recipe) -> None:
    """A classifier learns from labels, everything else from text without them."""
    labelled = isinstance(next(iter(splits.train)), Labelled)
    if labelled and not recipe.is_classifier:
        what = f"{recipe.data} holds texts with labels, but `method` is {recipe.method}, which does not learn labels."
        raise RecipeError(what, "Set `method` to classify or probe, or remove `label` from the examples.")
    if recipe.is_classifier and not labelled:
        what = f"`method` is {recipe.method}, but the examples of {recipe.data} have no labels."
        raise RecipeError(what, 'Write each like {"text": …, "label": …}.')


def _refuse_packing_beyond_window(model: Any, recipe: Recipe) -> None:
    """The mask of packed rows says which text a token belongs to; it would hide how far back a model may look."""
    window = getattr(model.config, "sliding_window", None) or recipe.max_length
    if recipe.packing and window < recipe.max_length:
        what = f"`packing` is true, but this model attends to at most {window} tokens, and `max_length` is larger."
        raise RecipeError(what, f"Set `max_length` to {window} or less, or `packing: false`.")


def _labels(splits: Splits, recipe: Recipe) -> tuple[str, ...]:
    """The classes: labels of the training examples, and of the held-out examples whose class `examples` leaves out."""
    trained = _labels_of(splits.train)
    if len(trained) < 2:
        what = f"All training examples have the label {trained.pop()!r}."
        remedy = "Raise `examples`, or shuffle the file." if recipe.examples else "Add examples with another label."
        raise DataError(what, f"A classifier needs two classes or more. {remedy}")
    unseen = _labels_of(splits.heldout) - trained
    if unseen and recipe.examples:
        trained |= unseen & _labels_of(load_splits(recipe.data, seed=recipe.seed).train)
    return tuple(sorted(trained))


def _labels_of(rows: Iterable[AnyRow]) -> set[str]:
    labels: set[str] = set()
    for row in rows:
        if isinstance(row, Labelled):
            labels.add(row.label)
        if len(labels) > _MAX_LABELS:
            raise DataError(
                f"There are more than {_MAX_LABELS} labels.", "Check that `label` is a class and not free text."
            )
    return labels


def evaluated_rows(splits: Splits, recipe: Recipe) -> Sequence[Any]:
    """The held-out examples that have a part in the held-out loss: of chats those that are answered, else all."""
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


def _pick_attention(model: Any, examples: Examples, recipe: Recipe, device: torch.device) -> str:
    """The recipe's attention; by default our own where it is faster, else the one that the model was loaded with.

    Raises:
        RecipeError: If the recipe's is not for this model, or rows are packed and it cannot keep packed texts apart.
    """
    from ftdemo.models import kernels

    kernels.register_attention()
    longest = recipe.max_length if recipe.packing else max(examples.lengths)
    plain = model.config.model_type in kernels.VERIFIED_MODELS
    if recipe.attention == kernels.ATTENTION and not plain:
        what = f"`attention` is {recipe.attention}, which has not been verified for {recipe.model}."
        raise RecipeError(what, "Set `attention: sdpa`, or eager.")
    by_speed = device.type == "cpu" and plain and longest <= _OURS_UP_TO
    if recipe.attention == kernels.ATTENTION or (recipe.attention == "auto" and by_speed):
        return kernels.ATTENTION
    found = str(model.config._attn_implementation) if recipe.attention == "auto" else recipe.attention
    if recipe.packing and found == "eager":  # Gemma 2 has no other
        what = f"`packing` is true, but the attention of {recipe.model} cannot keep packed texts apart."
        raise RecipeError(what, "Set `packing: false`.")
    return found
