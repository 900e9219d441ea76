"""What a model would be trained on, made visible: each row as the model reads it, its trained tokens marked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ftdemo.data import Labelled, load_splits
from ftdemo.data.tokenize import Example, Examples
from ftdemo.errors import RecipeError
from ftdemo.recipe import Recipe
from ftdemo.training.prepare import encode_rows, refuse_unknown_tokens_in, source_and_tokenizer, within_window

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Inspection:
    """Rows as a model reads them."""

    recipe: Recipe
    """With a `max_length` that the model can read."""
    examples: Examples
    tokenizer: PreTrainedTokenizerBase
    notes: tuple[str, ...]
    """What was changed in the recipe, a sentence each."""

    def spans(self, example: Example) -> Iterator[tuple[str, bool]]:
        """The example's text in pieces: what is read only, and what is trained."""
        ids: list[int] = []
        was_trained = False
        for token, trained in zip(example.input_ids, example.completion_mask, strict=True):
            if ids and trained != was_trained:
                yield str(self.tokenizer.decode(ids)), was_trained
                ids = []
            ids.append(token)
            was_trained = trained
        yield str(self.tokenizer.decode(ids)), was_trained


def inspect_recipe(recipe: Recipe) -> Inspection:
    """Encode a recipe's training examples as training would, without loading the model's weights.

    Raises:
        FtdemoError: If the rows cannot be read, or do not go with the model.
    """
    splits = load_splits(recipe.data, seed=recipe.seed, examples=recipe.examples)
    if isinstance(next(iter(splits.train)), Labelled):
        raise RecipeError(
            f"{recipe.data} contains labels: the loss is on the label, not on tokens.", "Name chats or texts."
        )
    source, tokenizer = source_and_tokenizer(recipe, splits)
    recipe, notes = within_window(recipe, source)
    examples = encode_rows(splits.train, tokenizer, recipe)
    refuse_unknown_tokens_in(examples, source, tokenizer)
    return Inspection(recipe, examples, tokenizer, (*notes, *examples.notes_on_keys()))
