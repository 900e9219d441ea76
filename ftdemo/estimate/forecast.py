"""Predict what a recipe takes: on this machine from a few steps that are timed, on accelerators from formulas."""

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
from ftdemo.methods import METHODS
from ftdemo.models import load as models
from ftdemo.recipe import Recipe
from ftdemo.training import hardware

_CHARACTERS_PER_TOKEN = 4
"""A rule of thumb for English, used if the model's own tokenizer is not on this machine."""
_TOKENS_PER_TURN = 5
"""What a chat template writes around each turn: its role and its end, as the templates of Llama 3 and ChatML do."""
_ROWS = 1000
_STEPS = 10
"""The steps that are timed: more than a demo times, because no reader waits for a page."""


@dataclass(frozen=True)
class AcceleratorForecast:
    """What a recipe takes on an accelerator, with weights and products in bfloat16."""

    device: str
    seconds: float
    memory_bytes: float
    available_bytes: float
    source: str

    @property
    def fits(self) -> bool:
        """Whether the recipe fits into the accelerator's memory."""
        return self.memory_bytes <= self.available_bytes


@dataclass(frozen=True)
class MachineForecast:
    """What a recipe takes on this machine."""

    memory: Memory
    libraries_bytes: int
    """What the process holds before any model is loaded."""
    available_bytes: int
    dtype: str
    seconds: float | None
    """Extrapolated from the timed steps; None if none were timed."""
    training_seconds: float | None
    """Of these, in steps: without loading, and without evaluations."""
    untimed_reason: str = ""

    @property
    def memory_bytes(self) -> float:
        """All memory of the process, in bytes."""
        return self.memory.total + self.libraries_bytes


@dataclass(frozen=True)
class Forecast:
    """The memory, time and price of a recipe."""

    model: str
    method: str
    counts: Counts
    rows: int
    row_tokens: float
    tokens: float
    steps: int
    tokens_estimated: bool
    """Whether tokens were estimated from characters, because the model's tokenizer is not on this machine."""
    operations: float
    this_machine: MachineForecast
    accelerators: tuple[AcceleratorForecast, ...]
    price: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, with those that properties compute."""
        values = asdict(self)
        values["this_machine"]["memory_bytes"] = self.this_machine.memory_bytes
        values["this_machine"]["memory"]["total"] = self.this_machine.memory.total
        for accelerator, its_values in zip(self.accelerators, values["accelerators"], strict=True):
            its_values["fits"] = accelerator.fits
        return values


def forecast(
    recipe: Recipe,
    *,
    devices: Sequence[str] = (),
    utilization: float = UTILIZATION,
    per_million: float | None = None,
    timed: bool = True,
) -> Forecast:
    """Predict the memory, time and price of a recipe.

    Args:
        recipe: A recipe of a method whose parameters can be counted.
        devices: Accelerators, by their names in `memory.ACCELERATORS`.
        utilization: The share of its peak speed that an accelerator reaches, from 0 to 1.
        per_million: A provider's price per million training tokens.
        timed: Whether to time a few steps, if the model is on this machine and fits into its memory.

    Raises:
        FtdemoError: If model or rows cannot be read, or there is no such method or device.
    """
    _refuse_unknown(recipe, devices)
    libraries = _libraries()
    size, counts = _size_and_counts(recipe)
    workload, tokens_estimated = _workload(recipe)
    operations = memory.operations(
        size,
        trainable=counts.trainable,
        low_rank=recipe.is_low_rank,
        tokens=workload.tokens,
        row_tokens=workload.row_tokens,
        trained_share=workload.trained_share,
    )
    dtype = _dtype(recipe)
    own, accelerated = (_memory(recipe, size, counts, workload, products) for products in (dtype, "bfloat16"))
    return Forecast(
        model=recipe.model,
        method=recipe.method,
        counts=counts,
        rows=workload.rows,
        row_tokens=workload.row_tokens,
        tokens=workload.tokens,
        steps=math.ceil(workload.tokens / workload.step_tokens),
        tokens_estimated=tokens_estimated,
        operations=operations,
        this_machine=_this_machine(recipe, own, libraries, dtype, workload.tokens, timed=timed),
        accelerators=tuple(
            AcceleratorForecast(
                device.name,
                memory.seconds_on(device, operations, utilization),
                accelerated.total,
                device.memory_bytes,
                device.source,
            )
            for device in (ACCELERATORS[name] for name in devices)
        ),
        price=None if per_million is None else memory.price(workload.tokens, per_million),
    )


def _refuse_unknown(recipe: Recipe, devices: Sequence[str]) -> None:
    """Refuse a method without an estimate, and devices that do not exist.

    Raises:
        FtdemoError: With those there are.
    """
    if recipe.method not in countable_methods():
        known = ", ".join(countable_methods())
        raise UsageError(f"`method` is {recipe.method}, for which ftdemo cannot estimate.", f"Use {known}.")
    if unknown := [name for name in devices if name not in ACCELERATORS]:
        raise UsageError(
            f"There is no accelerator called {unknown[0]}.", f"The accelerators are: {', '.join(ACCELERATORS)}."
        )
    hardware.pick_device(recipe.device)


def memory_here(recipe: Recipe) -> float | None:
    """Bytes that training by a recipe holds on this machine, libraries included; None for a method without estimate.

    Raises:
        FtdemoError: If model or rows cannot be read.
    """
    if recipe.method not in countable_methods():
        return None
    size, counts = _size_and_counts(recipe)
    return _memory(recipe, size, counts, _workload(recipe)[0], _dtype(recipe)).total + _libraries()


def _size_and_counts(recipe: Recipe) -> tuple[Size, Counts]:
    targets = recipe.targets if isinstance(recipe.targets, str) else tuple(recipe.targets)
    return _cached_size_and_counts(recipe.model, recipe.method, recipe.rank, targets)


@lru_cache(maxsize=32)
def _cached_size_and_counts(model: str, method: str, rank: int, targets: str | tuple[str, ...]) -> tuple[Size, Counts]:
    config = models.configuration(model)
    return memory.size_of(config), parameter_counts(config, method=method, rank=rank, targets=targets)


def _memory(recipe: Recipe, size: Size, counts: Counts, workload: throughput.Amount, products: str) -> Memory:
    batch = min(recipe.batch_tokens, workload.rows * workload.row_tokens)
    return memory.training_memory(
        size,
        trainable=counts.trainable,
        low_rank=recipe.is_low_rank,
        frozen=METHODS[recipe.method].frozen_format or products,
        products=products,
        batch_tokens=round(batch),
        row_tokens=workload.row_tokens,
        trained_tokens=batch * workload.trained_share,
    )


def _dtype(recipe: Recipe) -> str:
    """The number format of matrix products on this machine."""
    return hardware.pick_dtype(recipe.dtype, hardware.pick_device("cpu")).name


@lru_cache(maxsize=1)
def _libraries() -> int:
    """Bytes that this process holds once everything that training imports is loaded."""
    models.quiet_transformers()
    import accelerate  # noqa: F401
    import peft  # noqa: F401
    import psutil
    from transformers import AutoModelForCausalLM  # noqa: F401

    return int(psutil.Process().memory_info().rss)


def _workload(recipe: Recipe) -> tuple[throughput.Amount, bool]:
    """How many tokens the run reads, and whether they are estimated from characters for lack of the tokenizer."""
    try:
        return throughput.amount(recipe), False
    except FtdemoError as error:
        if isinstance(error, UsageError):  # the rows are at fault, not the model
            raise
    rows = load_splits(recipe.data, seed=recipe.seed, examples=recipe.examples).train
    characters, turns, trained, seen = 0, 0, 0, 0
    for row in rows:
        if isinstance(row, Labelled) or seen == _ROWS:
            break
        seen += 1
        characters += sum(len(turn.content) for turn in row.turns) if isinstance(row, Row) else len(row.text)
        turns += len(row.turns) if isinstance(row, Row) else 0
        trained += len(row.reference) if isinstance(row, Row) else len(row.text)
    all_tokens = characters / _CHARACTERS_PER_TOKEN + turns * _TOKENS_PER_TURN
    row_tokens = min(all_tokens / max(1, seen), recipe.max_length)
    once = len(rows) * row_tokens
    step = min(once, recipe.batch_tokens * recipe.accumulate)
    tokens = min(once * recipe.epochs, (recipe.max_steps or math.inf) * step)
    return throughput.Amount(len(rows), row_tokens, tokens, step, trained / max(1, characters)), True


def _this_machine(
    recipe: Recipe, memory: Memory, libraries: int, dtype: str, tokens: float, *, timed: bool
) -> MachineForecast:
    import psutil

    available = psutil.virtual_memory().total
    untimed_reason, seconds, training = "", None, None
    if not timed:
        untimed_reason = "not requested"
    elif memory.total + libraries > available:
        untimed_reason = "it does not fit into the memory of this machine"
    else:
        try:
            measured = throughput.measure_throughput(recipe, steps=_STEPS)
            seconds, training = throughput.run_seconds(recipe, measured), tokens / measured.tokens_per_second
        except FtdemoError as error:
            untimed_reason = error.what
    return MachineForecast(memory, libraries, available, dtype, seconds, training, untimed_reason)
