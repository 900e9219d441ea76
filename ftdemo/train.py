"""The training loop, as a generator of events. Read it top to bottom: there is nothing else.

Saving, sampling, scoring and drawing do not live here: whoever iterates does them between two events.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ftdemo import hardware
from ftdemo.batches import Batch, collate, plan_batches
from ftdemo.errors import TrainingError
from ftdemo.events import Evaluated, Event, Finished, Started, Step
from ftdemo.methods import Learner, precision, prepare
from ftdemo.recipe import Recipe

if TYPE_CHECKING:
    import torch

_MAX_GRAD_NORM = 1.0


def train(recipe: Recipe, learner: Learner | None = None) -> Generator[Event]:
    """Carry out a recipe, one event at a time.

    Close the generator to stop: the weights trained so far stay in the learner's model.

    Args:
        recipe: What to do.
        learner: What `prepare(recipe)` gave, for those who want to hold on to the model.

    Yields:
        `Started`; a `Step` for each optimizer step; an `Evaluated` every `eval_every` steps and after the last;
        `Finished`.

    Raises:
        TrainingError: If the loss is no longer a finite number.
    """
    import torch
    from accelerate import Accelerator

    learner = learner or prepare(recipe)
    plan = plan_batches(learner.train, batch_tokens=recipe.batch_tokens, epochs=recipe.epochs, seed=recipe.seed)
    steps_per_epoch = len(plan) / recipe.epochs
    plan = plan[: recipe.max_steps]
    accelerator = Accelerator(cpu=learner.device.type == "cpu")
    hardware.reset_peak_memory(learner.device)
    weights = list(learner.trainable.values())
    optimizer = torch.optim.AdamW(weights, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    model, optimizer = accelerator.prepare(learner.model, optimizer)

    yield _started(learner, total_steps=len(plan))
    tokens, seconds = 0, 0.0
    for step, examples in enumerate(plan, start=1):
        began = time.perf_counter()
        model.train()
        optimizer.param_groups[0]["lr"] = lr = learning_rate(recipe, step, len(plan))
        batch = collate(examples, learner.tokenizer.pad_token_id).to(learner.device)
        loss = completion_loss(model, batch)
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"The loss of step {step} is {loss.item()}: training has diverged.",
                f"Lower the learning rate (it was {lr:.1e}), to a third say, or lengthen `warmup`.",
            )
        accelerator.backward(loss)
        grad_norm = float(accelerator.clip_grad_norm_(weights, _MAX_GRAD_NORM))
        optimizer.step()
        optimizer.zero_grad()
        tokens += batch.tokens
        seconds += time.perf_counter() - began
        yield Step(step, len(plan), step / steps_per_epoch, loss.item(), lr, grad_norm, tokens, seconds)
        if learner.heldout and (step == len(plan) or (recipe.eval_every and step % recipe.eval_every == 0)):
            yield Evaluated(step=step, loss=heldout_loss(learner))
    yield Finished(
        status="completed",
        steps=len(plan),
        tokens=tokens,
        seconds=seconds,
        tokens_per_second=tokens / seconds,
        peak_memory_bytes=hardware.peak_memory(learner.device),
    )


def completion_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy over the batch's trained tokens, in nats: a scalar in float32."""
    import torch

    with precision(model), logits_only_at(model, batch.predict):
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.float(), batch.targets)


@contextmanager
def logits_only_at(model: Any, positions: torch.Tensor) -> Iterator[None]:
    """Within this, the model's head sees the hidden states at `positions` (bool, rows x length) alone.

    The head turns each hidden state into one logit a word of the vocabulary, a fifth of all work where the vocabulary
    is large and the model small. Logits that no loss reads are not computed: they come out as (trained, vocabulary).
    """
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _head, inputs: (inputs[0][positions], *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


def heldout_loss(learner: Learner) -> float:
    """Mean cross-entropy over all trained tokens of the held-out rows, in nats."""
    import torch

    total, count = 0.0, 0
    learner.model.eval()
    with torch.inference_mode():
        for examples in plan_batches(learner.heldout, batch_tokens=learner.recipe.batch_tokens, epochs=1, seed=0):
            batch = collate(examples, learner.tokenizer.pad_token_id).to(learner.device)
            total += completion_loss(learner.model, batch).item() * len(batch.targets)
            count += len(batch.targets)
    return total / count


def learning_rate(recipe: Recipe, step: int, total_steps: int) -> float:
    """The learning rate of a step (from 1): a linear rise during warm-up, then the schedule's fall towards zero."""
    warmup_steps = round(recipe.warmup * total_steps)
    if step <= warmup_steps:
        return recipe.lr * step / warmup_steps
    left = (total_steps - step + 1) / (total_steps - warmup_steps)
    falls = {"constant": 1.0, "linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2}
    return recipe.lr * falls[recipe.schedule]


def _started(learner: Learner, total_steps: int) -> Started:
    trainable = sum(weight.numel() for weight in learner.trainable.values())
    return Started(
        examples=len(learner.train),
        heldout_examples=len(learner.heldout),
        dropped_rows=learner.dropped_rows,
        truncated_rows=tuple(example.row for example in learner.train if example.truncated),
        trained_tokens=sum(example.trained_tokens for example in learner.train),
        total_steps=total_steps,
        trainable_parameters=trainable,
        total_parameters=sum(weight.numel() for weight in learner.model.parameters()),
        adapter_bytes=4 * trainable,
        device=str(learner.device),
        dtype=str(learner.dtype).removeprefix("torch."),
        attention=learner.attention,
    )
