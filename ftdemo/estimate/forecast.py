"""What a recipe will take before it is carried out: here, by a few steps that are timed, and elsewhere, by formulas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

from ftdemo.data import Labelled, Row, load_splits
from ftdemo.errors import FtdemoError, UsageError
from ftdemo.estimate import memory, throughput
from ftdemo.estimate.memory import ACCELERATORS, UTILIZATION, Memory, Size
from ftdemo.estimate.parameters import Counts, countable_methods, parameter_counts
from ftdemo.models import load as models
from ftdemo.recipe import METHODS, Recipe
from ftdemo.training import hardware

_LETTERS = 4
"""To a token, roughly, where the model's own tokenizer is not here."""
_ROWS = 1000
_STEPS = 10
"""That are timed: more than a demo takes, for nobody waits before a page."""


@dataclass(frozen=True)
class Elsewhere:
    """What the recipe takes on an accelerator, with weights and products in bfloat16."""

    device: str
    seconds: float
    memory_bytes: float
    has_bytes: float
    source: str

    @property
    def fits(self) -> bool:
        """Whether its memory holds what is needed."""
        return self.memory_bytes <= self.has_bytes


@dataclass(frozen=True)
class Here:
    """What it takes on this machine."""

    memory: Memory
    libraries_bytes: int
    """What the process holds before any model is loaded."""
    has_bytes: int
    dtype: str
    seconds: float | None
    """By a few steps that were timed; nothing where they were not."""
    training_seconds: float | None
    """Of these, in steps: without loading, and without evaluations."""
    why_untimed: str = ""

    @property
    def memory_bytes(self) -> float:
        """All that the process will hold."""
        return self.memory.total + self.libraries_bytes


@dataclass(frozen=True)
class Forecast:
    """What a recipe will take."""

    model: str
    method: str
    counts: Counts
    rows: int
    row_tokens: float
    tokens: float
    steps: int
    by_letters: bool
    """Whether tokens were judged by letters, for lack of the model's tokenizer."""
    operations: float
    here: Here
    elsewhere: tuple[Elsewhere, ...]
    price: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        found = asdict(self)
        found["here"]["memory_bytes"] = self.here.memory_bytes
        found["here"]["memory"]["total"] = self.here.memory.total
        for each, told in zip(self.elsewhere, found["elsewhere"], strict=True):
            told["fits"] = each.fits
        return found


def forecast(
    recipe: Recipe,
    *,
    devices: Sequence[str] = (),
    utilization: float = UTILIZATION,
    per_million: float | None = None,
    timed: bool = True,
) -> Forecast:
    """What a recipe will take.

    Args:
        recipe: Of a method whose parameters can be counted.
        devices: Accelerators, by their names in `memory.ACCELERATORS`.
        utilization: The share of its peak that an accelerator reaches.
        per_million: A host's price for a million training tokens.
        timed: Whether a few steps are taken here, where the model is here and there is memory for it.

    Raises:
        FtdemoError: If model or rows cannot be read, or there is no such method or device.
    """
    if recipe.method not in countable_methods():
        known = ", ".join(countable_methods())
        raise UsageError(f"`method` is {recipe.method}, of which nothing is predicted.", f"Use {known}.")
    if unknown := [name for name in devices if name not in ACCELERATORS]:
        raise UsageError(f"There is no data on {unknown[0]}.", f"There is on: {', '.join(ACCELERATORS)}.")
    hardware.pick_device(recipe.device)
    libraries = _libraries()
    size, counts = _sized(recipe)
    reads, by_letters = _reads(recipe)
    operations = memory.operations(
        size,
        trainable=counts.trainable,
        low_rank=recipe.is_low_rank,
        tokens=reads.tokens,
        row_tokens=reads.row_tokens,
        trained_share=reads.trained_share,
    )
    dtype = _dtype(recipe)
    here, there = (_memory(recipe, size, counts, reads, products) for products in (dtype, "bfloat16"))
    return Forecast(
        model=recipe.model,
        method=recipe.method,
        counts=counts,
        rows=reads.rows,
        row_tokens=reads.row_tokens,
        tokens=reads.tokens,
        steps=math.ceil(reads.tokens / reads.step_tokens),
        by_letters=by_letters,
        operations=operations,
        here=_here(recipe, here, libraries, dtype, reads.tokens, timed=timed),
        elsewhere=tuple(
            Elsewhere(
                device.name,
                memory.seconds_on(device, operations, utilization),
                there.total,
                device.memory_bytes,
                device.source,
            )
            for device in (ACCELERATORS[name] for name in devices)
        ),
        price=None if per_million is None else memory.price(reads.tokens, per_million),
    )


def memory_here(recipe: Recipe) -> float | None:
    """Bytes that a recipe's training holds on this machine, libraries included; nothing where it is not known.

    Raises:
        FtdemoError: If model or rows cannot be read.
    """
    if recipe.method not in countable_methods():
        return None
    size, counts = _sized(recipe)
    return _memory(recipe, size, counts, _reads(recipe)[0], _dtype(recipe)).total + _libraries()


def _sized(recipe: Recipe) -> tuple[Size, Counts]:
    targets = recipe.targets if isinstance(recipe.targets, str) else tuple(recipe.targets)
    return _sized_as(recipe.model, recipe.method, recipe.rank, targets)


@lru_cache(maxsize=32)
def _sized_as(model: str, method: str, rank: int, targets: str | tuple[str, ...]) -> tuple[Size, Counts]:
    config = models.configuration(model)
    return memory.size_of(config), parameter_counts(config, method=method, rank=rank, targets=targets)


def _memory(recipe: Recipe, size: Size, counts: Counts, reads: throughput.Amount, products: str) -> Memory:
    batch = min(recipe.batch_tokens, reads.rows * reads.row_tokens)
    return memory.memory(
        size,
        trainable=counts.trainable,
        low_rank=recipe.is_low_rank,
        frozen=METHODS[recipe.method].frozen_format or products,
        products=products,
        batch_tokens=round(batch),
        row_tokens=reads.row_tokens,
        trained_tokens=batch * reads.trained_share,
    )


def _dtype(recipe: Recipe) -> str:
    """The format of matrix products here."""
    return hardware.pick_dtype(recipe.dtype, hardware.pick_device("cpu")).name


@lru_cache(maxsize=1)
def _libraries() -> int:
    """Bytes that this process holds once all that training imports is there."""
    models.quiet_transformers()
    import accelerate  # noqa: F401
    import peft  # noqa: F401
    import psutil
    from transformers import AutoModelForCausalLM  # noqa: F401

    return int(psutil.Process().memory_info().rss)


def _reads(recipe: Recipe) -> tuple[throughput.Amount, bool]:
    """How much is read, by the model's own tokens where its tokenizer is here, else by letters."""
    try:
        return throughput.amount(recipe), False
    except FtdemoError as error:
        if isinstance(error, UsageError):  # the rows are at fault, not the model
            raise
    rows = load_splits(recipe.data, seed=recipe.seed, examples=recipe.examples).train
    letters, trained, seen = 0, 0, 0
    for row in rows:
        if isinstance(row, Labelled) or seen == _ROWS:
            break
        seen += 1
        letters += sum(len(turn.content) for turn in row.turns) if isinstance(row, Row) else len(row.text)
        trained += len(row.reference) if isinstance(row, Row) else len(row.text)
    row_tokens = min(letters / max(1, seen) / _LETTERS, recipe.max_length)
    once = len(rows) * row_tokens
    step = min(once, recipe.batch_tokens * recipe.accumulate)
    tokens = min(once * recipe.epochs, (recipe.max_steps or math.inf) * step)
    return throughput.Amount(len(rows), row_tokens, tokens, step, trained / max(1, letters)), True


def _here(recipe: Recipe, memory: Memory, libraries: int, dtype: str, tokens: float, *, timed: bool) -> Here:
    import psutil

    has = psutil.virtual_memory().total
    why, taken, training = "", None, None
    if not timed:
        why = "not asked for"
    elif memory.total + libraries > has:
        why = "it does not fit into the memory of this machine"
    else:
        try:
            found = throughput.measure_throughput(recipe, steps=_STEPS)
            taken, training = throughput.run_seconds(recipe, found), tokens / found.tokens_per_second
        except FtdemoError as error:
            why = error.what
    return Here(memory, libraries, has, dtype, taken, training, why)
