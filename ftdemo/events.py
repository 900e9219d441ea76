"""The events of a run: what `train` yields, a recorder stores and every face draws.

Events are frozen and hold plain values alone, so that each is one JSON object in ``run.json``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Started:
    """Everything is loaded; the first step comes next."""

    examples: int
    heldout_examples: int
    dropped_rows: tuple[int, ...]
    """Training examples (from 1) of which `max_length` leaves no trained token; the first thousand of them."""
    truncated_rows: tuple[int, ...]
    trained_tokens: int
    """Tokens with a loss in one epoch."""
    total_steps: int
    trainable_parameters: int
    total_parameters: int
    """Parameters of the model with its adapter."""
    adapter_bytes: int
    """Size of the trained weights in float32, as they are saved."""
    device: str
    dtype: str
    attention: str
    lr: float = 0.0
    """The peak learning rate."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why the learning rate (``lr``) and the number format (``dtype``) are what they are."""
    baselines: dict[str, float] = field(default_factory=dict)
    """Of running text: the entropy of a token for models that only count, in nats: `ftdemo.data.ngram_baselines`."""
    notes: tuple[str, ...] = ()
    """Which settings of the recipe have no effect in this run, and why: a sentence each."""


@dataclass(frozen=True)
class Step:
    """One optimizer step was taken."""

    step: int
    total_steps: int
    epoch: float
    loss: float
    """Mean cross-entropy over the batch's trained tokens, in nats."""
    lr: float
    grad_norm: float
    """Norm of the gradient before clipping."""
    tokens: int
    """Tokens of real text the model has read so far, padding not counted."""
    seconds: float
    """Time spent in steps so far: evaluation and sampling not counted."""

    @property
    def tokens_per_second(self) -> float:
        """Tokens of real text a second of training, since the run began."""
        return self.tokens / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Evaluated:
    """The loss on held-out examples was measured."""

    step: int
    loss: float
    """Mean cross-entropy over all trained tokens, or labels, of the held-out examples, in nats."""
    bits_per_byte: float | None = None
    """Of running text: the same loss in bits per byte of UTF-8, which compares across tokenizers."""


@dataclass(frozen=True)
class Answer:
    """A held-out prompt, what the model said and what the data set says."""

    prompt: str
    text: str
    reference: str
    stopped: bool
    """Whether the model ended its turn by itself, with its stop token."""


@dataclass(frozen=True)
class Sampled:
    """Held-out prompts were answered, greedily, and scored where the data set has a checker."""

    step: int
    answers: tuple[Answer, ...]
    scores: dict[str, float]
    """Mean of each score over the answers, from 0 to 1."""
    seconds: float


@dataclass(frozen=True)
class Finished:
    """Training ended: the plan was carried out, or somebody stopped it."""

    status: Literal["completed", "stopped"]
    steps: int
    tokens: int
    seconds: float
    tokens_per_second: float
    peak_memory_bytes: int
    best_step: int | None = None
    """With early stopping: the step whose weights were kept."""


Event = Started | Step | Evaluated | Sampled | Finished
_KINDS: dict[str, type] = {kind.__name__.lower(): kind for kind in (Started, Step, Evaluated, Sampled, Finished)}


def to_dict(event: Event) -> dict[str, Any]:
    """The event as plain values, its kind under ``event``."""
    return {"event": type(event).__name__.lower(), **asdict(event)}


def from_dict(data: dict[str, Any]) -> Event:
    """The event that `to_dict` gave.

    Raises:
        KeyError: If there is no event of that kind.
    """
    fields = dict(data)
    kind = _KINDS[fields.pop("event")]
    if kind is Sampled:
        fields["answers"] = tuple(Answer(**answer) for answer in fields["answers"])
    if kind is Started:
        fields = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    event: Event = kind(**fields)
    return event
