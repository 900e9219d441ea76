"""What a contender is measured by, the same for all: a clock, memory, operations, and what the machine could do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.works import Figures, Work
from ftdemo.data.batches import Packed
from ftdemo.evaluation.evaluate import row_losses
from ftdemo.training import hardware
from ftdemo.training.learner import Learner

_MATMUL_SECONDS = 2.0


class Meter:
    """Follows one training run, whoever carries it out."""

    def __init__(self, work: Work, learner: Learner, imports_bytes: int) -> None:
        self._work = work
        self._learner = learner
        self._imports_bytes = imports_bytes
        self._loading_bytes = hardware.peak_memory(learner.device)
        self._to_loss: float | None = None

    def look(self, step: int, seconds: float, heldout_loss: Callable[[], float]) -> None:
        """After a step: note when the held-out loss first is the target."""
        every = self._work.recipe.eval_every
        target = self._work.target_loss
        if self._to_loss is None and target and every and step % every == 0 and heldout_loss() <= target:
            self._to_loss = seconds

    def figures(self, model: Any, *, seconds: float, losses: list[float], steps: list[tuple[int, int]]) -> Figures:
        """The run's figures.

        Args:
            model: The model that was trained.
            seconds: Spent in steps.
            losses: Of each step.
            steps: Tokens of text and trained tokens of each step.
        """
        memory = max(hardware.peak_memory(self._learner.device), self._loading_bytes) - self._imports_bytes
        tokens = sum(count for count, _ in steps)
        figures = {
            "tokens_per_second": tokens / seconds,
            "seconds": seconds,
            "loss": sum(losses) / len(losses),
            "memory_bytes": float(memory),
            "share_of_matmul_rate": _operations(model, steps) / seconds / _matmul_rate(model, tokens // len(steps)),
        }
        return figures | ({"seconds_to_loss": self._to_loss} if self._to_loss is not None else {})


def _operations(model: Any, steps: list[tuple[int, int]]) -> float:
    """Multiplications and additions that the mathematics asks for: 2 a weight and token, forward; as many for the
    gradient of the input, and as many again for that of a weight that moves. The head works on trained tokens.
    """
    tokens, trained = (sum(counts) for counts in zip(*steps, strict=True))
    head = model.get_output_embeddings()
    total = 0.0
    for layer in _matrices(model).values():
        times = 3 if layer.weight.requires_grad else 2
        total += 2.0 * times * layer.weight.numel() * (trained if layer is head else tokens)
    return total


def _matrices(model: Any) -> dict[str, Any]:
    """The layers that multiply hidden states with a matrix, by name."""
    import torch

    return {name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)}


def _matmul_rate(model: Any, tokens: int) -> float:
    """Operations a second that this machine reaches on products of the model's own shapes, in the better format.

    Each matrix is multiplied as training does it: with hidden states, and with gradients. Adapters are left out: their
    products are too thin for any machine to be fast at. So is the head, which sees fewer tokens.
    """
    import torch

    dtype = hardware.pick_dtype("auto", torch.device("cpu")).dtype
    head = model.get_output_embeddings()
    own = [layer for name, layer in _matrices(model).items() if layer is not head and "lora_" not in name]
    shapes = [layer.weight.shape for layer in own]
    products = [(torch.randn(tokens, d_in).to(dtype), torch.randn(d_out, d_in).to(dtype)) for d_out, d_in in shapes]
    operations = sum(4.0 * tokens * d_out * d_in for d_out, d_in in shapes)
    best, deadline = 0.0, time.perf_counter() + _MATMUL_SECONDS
    while time.perf_counter() < deadline:
        began = time.perf_counter()
        for hidden, weight in products:
            (hidden @ weight.t()) @ weight
        best = max(best, operations / (time.perf_counter() - began))
    return best


def heldout_loss(model: Any, learner: Learner) -> float:
    """Mean cross-entropy of the held-out rows, whoever trained the model."""
    was_training = model.training
    model.train(False)
    losses = row_losses(model, learner.tokenizer, learner.heldout)
    model.train(was_training)
    return sum(nats for nats, _ in losses) / sum(count for _, count in losses)


def counts_of(learner: Learner, batch: Packed) -> tuple[int, int]:
    """Tokens of text and trained tokens of a batch."""
    examples = [learner.train[place] for row in batch for place in row]
    return sum(map(len, examples)), sum(example.trained_tokens for example in examples)


def memory_with_imports() -> int:
    """Bytes this process holds once everything that training imports is there, before any model."""
    import accelerate  # noqa: F401
    import peft  # noqa: F401
    import psutil
    from transformers import AutoModelForCausalLM, Trainer  # noqa: F401

    return int(psutil.Process().memory_info().rss)
