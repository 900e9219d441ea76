"""`Job`: a recipe in the terms of other trainers. Everything that several of them need is computed here, once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from ftdemo.data import AnyRow, Labelled, Row, Splits, Text, load_splits
from ftdemo.data.batches import plan_batches
from ftdemo.data.tokenize import encode_all
from ftdemo.errors import ModelError, UsageError
from ftdemo.methods import METHODS, Method
from ftdemo.models import load as models
from ftdemo.models.catalog import (
    CATALOG,
    NEW,
    in_words,
    known_learning_rate,
    known_parameters,
    usual_learning_rate,
    usual_settings,
)
from ftdemo.recipe import Recipe
from ftdemo.runs.elsewhere.chat_format import ChatFormat, chat_format
from ftdemo.training.prepare import evaluated_rows

MODEL_FOLDER = "model"
"""Where a model that is not on the Hub is copied to, in the folder that is written."""
_LOOKED_AT = 2000
"""Rows by which the size of batches is found."""
_CHARACTERS_PER_TOKEN, _TOKENS_PER_TURN = 4, 5
"""Rules of thumb for English and for chat templates, used if no tokenizer is on this machine."""


@dataclass(frozen=True)
class Contents:
    """What the training examples hold."""

    kind: Literal["chats", "texts", "labels", "mixed"]
    trained: Literal["every", "last", "some"]
    """Which answers of a conversation are trained. Where each has one, it is every answer."""
    conversations_with_several: int
    """Conversations with more than one trained answer."""
    calls_tools: bool


@dataclass(frozen=True)
class Batches:
    """The batches of a run in examples, where ftdemo counts tokens."""

    examples: int
    """That go through the model at once."""
    accumulate: int
    """How often, for one step."""
    steps: int
    warmup_steps: int
    average: float
    """Examples in a batch of the recipe, before rounding."""
    counted_by: str
    """How tokens were counted, in words."""
    too_long: int
    """How many of the examples looked at are longer than `max_length`."""


@dataclass(frozen=True)
class Job:
    """A recipe in the terms of other trainers."""

    recipe: Recipe
    """With what was adapted to a model's size."""
    model: str
    """A Hub id, or the folder beside the script."""
    model_files: Path | None
    """The folder to copy there."""
    learning_rate: float
    rate_reason: str
    splits: Splits
    contents: Contents
    batches: Batches
    chat: ChatFormat | None
    """None where the model's tokenizer is not on this machine."""
    gradient_checkpointing: bool
    adapted: tuple[str, ...]
    """What was adapted to a model's size, a sentence each."""
    differs: tuple[str, ...]
    """What is not the same with any of the trainers, a sentence each."""

    @property
    def method(self) -> Method:
        """The recipe's method."""
        return METHODS[self.recipe.method]

    @property
    def model_name(self) -> str:
        """What the model is called, without the folders above it."""
        return _name(self.recipe.model)

    @property
    def heldout(self) -> Sequence[AnyRow]:
        """The rows to evaluate on: those that ftdemo evaluates the loss on."""
        return evaluated_rows(self.splits, self.recipe)

    @property
    def evaluates(self) -> bool:
        """Whether there is something to evaluate on, and the recipe asks for it."""
        return bool(self.heldout) and self.recipe.eval_every is not None

    @property
    def stops_early(self) -> bool:
        """Whether training ends when the held-out loss no longer falls."""
        return self.evaluates and bool(self.recipe.patience)

    @property
    def saves_every(self) -> int | None:
        """Steps between checkpoints: where training stops early, each evaluation needs one to go back to."""
        return self.recipe.eval_every if self.stops_early else self.recipe.save_every

    @property
    def continues_after_stop(self) -> bool:
        """Whether the chat template writes something after the stop token, as far as is known."""
        return self.chat is None or bool(self.chat.after_stop)

    @property
    def masks_prompts(self) -> bool:
        """Whether the loss is computed on answers alone."""
        return self.recipe.train_on == "completion" and self.contents.kind == "chats"


def translate(recipe: Recipe, *, model: str | None = None, parameters: int | None = None) -> Job:
    """Put a recipe into the terms of other trainers.

    Args:
        recipe: What to do.
        model: Another model, by its Hub id. Learning rate, rank, batches and memory are adapted to its size.
        parameters: The size of that model; by default, what the catalogue or the name says.

    Raises:
        FtdemoError: If the size is not known, the model has no name on the Hub and no folder, or the data is missing.
    """
    own_model = recipe.model
    adapted_to = None
    changes: tuple[str, ...] = ()
    if model:
        adapted_to = parameters or known_parameters(model)
        if not adapted_to:
            raise UsageError(f"The size of {model} is not known.", "Name it: `--size 8B`.")
        recipe, changes = _for_size(recipe, model, adapted_to)
    rate, reason = _rate(recipe, adapted_to)
    name, files = _model(recipe.model)
    splits = load_splits(recipe.data, seed=recipe.seed, examples=recipe.examples)
    tokenizer = _tokenizer(own_model)
    contents, first = _contents(splits.train), list(islice(splits.train, _LOOKED_AT))
    batches, by_size = _in_micro_batches(_batches(recipe, splits, first, tokenizer), adapted_to)
    chats = [row for row in first if isinstance(row, Row)]
    return Job(
        recipe=recipe,
        model=name,
        model_files=files,
        learning_rate=rate,
        rate_reason=reason,
        splits=splits,
        contents=contents,
        batches=batches,
        chat=chat_format(tokenizer, chats) if chats and tokenizer and recipe.model == own_model else None,
        gradient_checkpointing=bool(adapted_to and usual_settings(adapted_to).gradient_checkpointing),
        adapted=(*changes, *by_size),
        differs=tuple(_differs(recipe, own_model, splits, batches)),
    )


def _for_size(recipe: Recipe, model: str, parameters: int) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe for a model of another size, by the rules of the catalogue, and what was changed."""
    method, usual, size = METHODS[recipe.method], usual_settings(parameters), in_words(parameters)
    rate = usual_learning_rate(parameters, method.rate_family, method.rate_factor)
    changed: dict[str, Any] = {"model": model, "lr": rate.value}
    notes = [f"Learning rate {rate.value:g}: {rate.reason}."]
    if "alpha" in method.keys and recipe.rank < usual.rank:
        changed["rank"] = usual.rank
        notes.append(f"Rank {usual.rank}, up from {recipe.rank}: usual from 1 billion parameters. Alpha is unchanged.")
    if usual.gradient_checkpointing:
        notes.append("Gradient checkpointing is on: from 1 billion parameters, activations need too much memory.")
        if recipe.dtype == "float32":
            changed["dtype"] = "auto"
            notes.append("The number format is chosen by the device: float32 would need twice the memory.")
    if usual.frozen_in_four_bits and method.is_low_rank and (packed := _in_few_bits(method)):
        changed["method"] = packed.name
        notes.append(f"Frozen weights are in 4 bits: in 16, those of {size} parameters exceed a GPU with 80 GB.")
    return recipe.with_settings(changed), tuple(notes)


def _in_few_bits(method: Method) -> Method | None:
    """The method that trains the same adapter beside weights in few bits, if there is one and this is not it."""
    same = (method.peft_config, method.has_magnitudes)
    found = (each for each in METHODS.values() if each.frozen_format and not method.frozen_format)
    return next((each for each in found if (each.peft_config, each.has_magnitudes) == same), None)


def _rate(recipe: Recipe, parameters: int | None) -> tuple[float, str]:
    method = METHODS[recipe.method]
    if recipe.lr is not None:
        known = known_learning_rate(recipe.model, method.rate_family, method.rate_factor)
        if parameters:
            return recipe.lr, usual_learning_rate(parameters, method.rate_family, method.rate_factor).reason
        return recipe.lr, known.reason if known and known.value == recipe.lr else "set in the recipe"
    if recipe.model == NEW:
        return recipe.peak_lr, "the usual one for the method"
    size = known_parameters(recipe.model)
    if size is None:
        what = f"The size of {recipe.model} is not known, and so is the learning rate that suits it."
        raise UsageError(what, "Set `lr` in the recipe, or name model and size: `--model ID --size 8B`.")
    found = usual_learning_rate(size, method.rate_family, method.rate_factor)
    return found.value, found.reason


def _model(model: str) -> tuple[str, Path | None]:
    """The name of a model for other machines, and the folder to copy, if it is not on the Hub.

    Raises:
        ModelError: If there is no such folder, or it holds no weights as safetensors.
    """
    row, folder = CATALOG.get(model), Path(model)
    if row is not None:
        if row.hub_id or row.source in ("hub", "made"):
            return row.hub_id or model, None
        folder = Path(models.resolve(model).path)
    elif not folder.exists():
        if model.count("/") != 1 or model.startswith((".", "/", "~")):
            raise ModelError(f"There is no model in {model}.", "Name the one to train: `--model ID --size 8B`.")
        return model, None
    if not any(folder.glob("*.safetensors")) or not (folder / "config.json").is_file():
        what = f"{model} holds no model that other tools load: no config.json with *.safetensors."
        raise ModelError(what, "Name the Hub id of the original model: `--model ID --size 8B`.")
    return f"./{MODEL_FOLDER}", folder


def _name(model: str) -> str:
    return Path(model).name if model not in CATALOG and Path(model).exists() else model


def _tokenizer(model: str) -> Any | None:
    """The model's tokenizer, if it can be read. For it alone, the Hub is not asked."""
    from transformers import AutoTokenizer

    if model == NEW:
        return None
    try:
        if (model in CATALOG and CATALOG[model].source != "hub") or Path(model).exists():
            return models.load_tokenizer(models.resolve(model))
        return AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ModelError):
        return None


def _contents(rows: Iterable[AnyRow]) -> Contents:
    kinds: set[type] = set()
    trained = {"every": True, "last": True}
    several, calls_tools = 0, False
    for row in rows:
        kinds.add(type(row))
        if not isinstance(row, Row):
            continue
        answers = [turn.train for turn in row.turns if turn.role == "assistant"]
        several += sum(answers) > 1
        trained["every"] &= all(answers)
        trained["last"] &= answers[-1] and not any(answers[:-1])
        uses = any(turn.role == "tool" or "tool_calls" in dict(turn.extra) for turn in row.turns)
        calls_tools |= uses or bool(row.tools)
    names: dict[type, Literal["chats", "texts", "labels"]] = {Row: "chats", Text: "texts", Labelled: "labels"}
    kind = names[kinds.pop()] if len(kinds) == 1 else "mixed"
    which: Literal["every", "last", "some"] = "every" if trained["every"] else "last" if trained["last"] else "some"
    return Contents(kind, which, several, calls_tools)


def _batches(recipe: Recipe, splits: Splits, first: Sequence[AnyRow], tokenizer: Any | None) -> Batches:
    """The recipe's batches, of as many examples as they have on average."""
    lengths, too_long, counted_by = _lengths(recipe, first, tokenizer)
    plan = plan_batches(lengths, batch_tokens=recipe.batch_tokens, epochs=1, seed=recipe.seed)
    average = len(lengths) / len(plan)
    if recipe.packing:  # then a row of the batch is a packed one, whatever it holds
        average = recipe.batch_tokens / recipe.max_length
    examples = max(1, round(average))
    rows = len(splits.train) if not recipe.packing else sum(lengths) / recipe.max_length
    steps = math.ceil(recipe.epochs * math.ceil(math.ceil(rows / examples) / recipe.accumulate))
    steps = min(steps, recipe.max_steps or steps)
    return Batches(examples, recipe.accumulate, steps, round(recipe.warmup * steps), average, counted_by, too_long)


def _lengths(recipe: Recipe, rows: Sequence[AnyRow], tokenizer: Any | None) -> tuple[list[int], int, str]:
    """Tokens of each example, how many are cut, and how they were counted."""
    if tokenizer is not None and not any(isinstance(row, Labelled) for row in rows):
        examples = encode_all(rows, tokenizer, train_on=recipe.train_on, max_length=recipe.max_length)
        if examples:
            return list(examples.lengths), len(examples.truncated), "with the tokenizer of the recipe's model"
    guessed = [
        len(row.text) // _CHARACTERS_PER_TOKEN + _TOKENS_PER_TURN * (len(row.turns) if isinstance(row, Row) else 0)
        for row in rows
    ]
    too_long = sum(length > recipe.max_length for length in guessed)
    limited = [max(1, min(length, recipe.max_length)) for length in guessed]
    return limited, too_long, "at four characters per token, because no tokenizer is on this machine"


def _in_micro_batches(batches: Batches, parameters: int | None) -> tuple[Batches, tuple[str, ...]]:
    """The same examples per step in smaller pieces, where a model's size asks for it."""
    most = usual_settings(parameters).micro_batch if parameters else batches.examples
    if batches.examples <= most:
        return batches, ()
    wanted = batches.examples * batches.accumulate
    accumulate = math.ceil(wanted / most)
    at_once = "1 example" if most == 1 else f"{most} examples"
    note = f"{at_once} at once, {accumulate} times per step: the recipe has {wanted} per step."
    return Batches(**{**vars(batches), "examples": most, "accumulate": accumulate}), (note,)


def _differs(recipe: Recipe, own_model: str, splits: Splits, batches: Batches) -> Iterable[str]:
    yield (
        f"ftdemo fills a batch up to {recipe.batch_tokens:,} tokens with examples of similar length. Here each batch "
        f"has the same number of examples, {batches.average:.1f} on average, counted {batches.counted_by}."
    )
    if recipe.model != own_model:
        yield f"Tokens were counted for {_name(own_model)}; {recipe.model} may need more or fewer for the same text."
    if splits.in_order:
        yield "The recipe trains the examples in their order. Other tools shuffle them, unless a setting says no."
    else:
        yield "The order of the examples is another: each tool shuffles in its own way, even with the same seed."
    if not recipe.train_stop:
        yield "The recipe leaves the stop token untrained. Other tools train it."
    if batches.too_long:
        yield f"{batches.too_long} examples are longer than {recipe.max_length} tokens, and are cut."
    if own_model == recipe.model and CATALOG.get(own_model) and CATALOG[own_model].package:
        package = CATALOG[own_model].package
        yield f"If ftdemo took the model from the package {package}, its weights were rounded; the Hub's were not."
