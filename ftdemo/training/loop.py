"""The training loop, as a generator of events. Read it top to bottom: there is nothing else.

Saving, sampling, scoring and drawing do not live here: the caller does them between two events.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ftdemo.data.batches import Batch, BatchPlan, Packed, collate, collate_packed, plan_batches
from ftdemo.data.ngram_baselines import entropies
from ftdemo.data.tokenize import Examples
from ftdemo.errors import TrainingError, UsageError
from ftdemo.events import Evaluated, Event, Finished, Started, Step
from ftdemo.models.layers import count_parameters
from ftdemo.recipe import Recipe
from ftdemo.training import distributed, hardware
from ftdemo.training.early_stop import TrainingState, is_out_of_patience, note_evaluation, restore_best
from ftdemo.training.learner import Learner
from ftdemo.training.notes import settings_without_effect
from ftdemo.training.prepare import prepare

if TYPE_CHECKING:
    from accelerate import Accelerator

_MAX_GRAD_NORM = 1.0
_STEPS_TO_MOVE = 3
"""In the first steps of a warm-up the learning rate may be too small to change a float32; by the third it is not."""
_FINGERPRINT = 1000
"""Numbers of each weight that are compared: enough to see a change, and no copy of the model."""
_NAMED_ROWS = 1000


def train(recipe: Recipe, learner: Learner | None = None, state: TrainingState | None = None) -> Generator[Event]:
    """Carry out a recipe, one event at a time.

    Close the generator to stop: the weights trained so far stay in the learner's model.

    Args:
        recipe: What to do.
        learner: What `prepare(recipe)` gave, if you want to hold on to the model.
        state: Where to continue, for a learner whose weights and optimizer have come that far. It is kept up to date.

    Yields:
        `Started`; a `Step` for each optimizer step; an `Evaluated` every `eval_every` steps and after the last;
        `Finished`.

    Raises:
        TrainingError: If the loss is no longer a finite number, or no weight changes.
        UsageError: If Accelerate was told to share the model in a way that is not ours.
    """
    from accelerate import Accelerator

    learner, state = learner or prepare(recipe), state or TrainingState()
    distributed.join(learner.device)
    # Accelerate only shares the work out: with its own mixed precision, ours would be cast a second time.
    accelerator = Accelerator(cpu=learner.device.type == "cpu", mixed_precision="no")
    plan = plan_run(learner)
    steps = math.ceil(len(plan) / recipe.accumulate)
    total_steps = min(steps, recipe.max_steps or steps)
    hardware.reset_peak_memory(learner.device)
    model, optimizer = _hand_over(learner, accelerator)
    start = None if state.step else _fingerprints(learner)

    yield _started(learner, steps, total_steps)
    yield from _evaluate_if_due(learner, state, total_steps)  # a run that was stopped may have missed one
    for step in range(state.step + 1, total_steps + 1):
        if is_out_of_patience(learner, state):
            break
        began = time.perf_counter()
        model.train()
        lr = learning_rate(learner.recipe, step, total_steps)
        for group in optimizer.param_groups:
            group["lr"] = lr * group["factor"]
        loss, tokens = _forward_and_backward(accelerator, model, learner, plan, step)
        _refuse_broken(loss, step, lr)  # before the step, so that what is saved are weights that still work
        # Small models on small batches have rare gradients many times the usual; one would undo many steps.
        grad_norm = float(accelerator.clip_grad_norm_(list(learner.trainable.values()), _MAX_GRAD_NORM))
        optimizer.step()
        optimizer.zero_grad()
        if step == min(_STEPS_TO_MOVE, total_steps) and _fingerprints(learner) == start:
            raise _nothing_moved(step, lr, grad_norm)
        state.step, state.tokens = step, state.tokens + tokens
        state.seconds += time.perf_counter() - began  # the reader of the events may take its time: that is not training
        yield Step(step, total_steps, step / steps * recipe.epochs, loss, lr, grad_norm, state.tokens, state.seconds)
        yield from _evaluate_if_due(learner, state, total_steps)
    restore_best(learner, state)
    yield finished("completed", learner, state)


def plan_run(learner: Learner) -> BatchPlan:
    """The batches of a whole run, in order."""
    recipe, in_order = learner.recipe, learner.splits.in_order
    return _plan(recipe, learner.train, epochs=recipe.epochs, seed=recipe.seed, in_order=in_order)


def plan_heldout(learner: Learner) -> BatchPlan:
    """The batches by which a run is judged, in order."""
    return _plan(learner.recipe, learner.heldout, epochs=1, seed=0)


def _plan(recipe: Recipe, examples: Examples, *, epochs: float, seed: int, in_order: bool = False) -> BatchPlan:
    return plan_batches(
        examples.lengths,
        batch_tokens=recipe.batch_tokens,
        epochs=epochs,
        seed=seed,
        packed_length=recipe.max_length if recipe.packing else None,
        in_order=in_order,
    )


def _hand_over(learner: Learner, accelerator: Accelerator) -> tuple[Any, Any]:
    """Let Accelerate prepare model and optimizer for their processes.

    Under FSDP, shares take the place of the weights, so that what the optimizer remembers of them has to be shared too.

    Raises:
        UsageError: If they are to be shared in a way that replaces the model, not its weights.
    """
    kind = accelerator.distributed_type.value
    if kind in ("DEEPSPEED", "MEGATRON_LM") or (kind == "FSDP" and not accelerator.is_fsdp2):
        raise UsageError(
            f"Accelerate is set up for {kind}, which replaces ftdemo's model by another.",
            "To shard a model over GPUs, use FSDP with `fsdp_version: 2`.",
        )
    if kind == "FSDP" and learner.recipe.optimizer == "muon":
        raise UsageError("Muon needs whole matrices, but FSDP splits them.", "Set `optimizer: adamw`.")
    moments = {name: learner.optimizer.state.pop(weight, {}) for name, weight in learner.trainable.items()}
    prepared = accelerator.prepare(learner.model, learner.optimizer)
    for name, weight in learner.trainable.items():
        for key, moment in moments[name].items():
            learner.optimizer.state[weight][key] = distributed.shard_like(moment, weight)
    model, optimizer = prepared
    return model, optimizer


def _forward_and_backward(
    accelerator: Accelerator, model: Any, learner: Learner, plan: BatchPlan, step: int
) -> tuple[float, int]:
    """Add up the gradients of a step: of its batches, and of the processes that share them.

    Each loss is divided by the trained tokens of the *whole* step. So every token weighs the same, in however many
    uneven batches and processes it is computed.

    Returns:
        The mean loss a trained token, in nats, and the number of tokens read.
    """
    import torch

    size = learner.recipe.accumulate
    places = [plan[place] for place in range((step - 1) * size, min(step * size, len(plan)))]
    batches = [_share(learner, learner.train, batch) for batch in places]
    total = torch.zeros((), device=learner.device)
    trained, tokens = distributed.all_reduce_sum(
        sum(len(batch.targets) for batch in batches), sum(batch.tokens for batch in batches)
    )
    for batch in batches:
        with nullcontext() if batch is batches[-1] else accelerator.no_sync(model):
            loss = learner.method.loss(model, batch, learner) / trained
            accelerator.backward(loss * accelerator.num_processes)  # processes average their gradients
        total += loss.detach()
    return distributed.all_reduce_sum(total.item())[0], int(tokens)


def _share(learner: Learner, examples: Examples, batch: Packed) -> Batch:
    """The rows of a batch that fall to this process; where there are none, a row without anything to predict."""
    mine = batch[distributed.rank() :: distributed.world_size()]
    collated = assemble(learner, examples, mine or batch[:1]).to(learner.device)
    return collated if mine else collated.without_targets()


def assemble(learner: Learner, examples: Examples, batch: Packed) -> Batch:
    """The tensors of a planned batch."""
    recipe, pad_token_id = learner.recipe, learner.tokenizer.pad_token_id
    rows = [[examples[place] for place in row] for row in batch]
    if recipe.packing:
        return collate_packed(rows, pad_token_id, length=recipe.max_length)
    return collate([row[0] for row in rows], pad_token_id)


def evaluate_heldout(learner: Learner, step: int) -> Evaluated:
    """Mean cross-entropy over all targets of the held-out examples; of running text, also in bits per byte."""
    import torch

    total, count = 0.0, 0.0
    learner.model.eval()
    with torch.no_grad():
        for batch in plan_heldout(learner):
            collated = _share(learner, learner.heldout, batch)
            total += learner.method.loss(learner.model, collated, learner).item()
            count += len(collated.targets)
    total, count = distributed.all_reduce_sum(total, count)
    text_bytes = learner.heldout.text_bytes
    return Evaluated(step, total / count, total / math.log(2) / text_bytes if text_bytes else None)


def learning_rate(recipe: Recipe, step: int, total_steps: int) -> float:
    """The learning rate of a step (from 1): a linear rise during warm-up, then the schedule's fall towards zero."""
    warmup_steps = round(recipe.warmup * total_steps)
    if step <= warmup_steps:
        return recipe.peak_lr * step / warmup_steps
    left = (total_steps - step + 1) / (total_steps - warmup_steps)
    falls = {"constant": 1.0, "linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2}
    return recipe.peak_lr * falls[recipe.schedule]


def finished(status: Any, learner: Learner, state: TrainingState) -> Finished:
    """How a run ended."""
    speed = state.tokens / state.seconds if state.seconds else 0.0
    peak = hardware.peak_memory(learner.device)
    kept = state.best_step if status == "completed" else None  # a stopped run keeps its last weights
    return Finished(status, state.step, state.tokens, state.seconds, speed, peak, kept)


def _evaluate_if_due(learner: Learner, state: TrainingState, total_steps: int) -> Iterator[Evaluated]:
    """The held-out loss, where it is due after the step that was taken last and was not measured there yet."""
    recipe, step = learner.recipe, state.step
    is_due = step == total_steps or (recipe.eval_every and step % recipe.eval_every == 0)
    if learner.heldout and is_due and state.evaluated_at != step:
        evaluated = evaluate_heldout(learner, step)
        note_evaluation(evaluated, learner, state)
        yield evaluated


def _fingerprints(learner: Learner) -> list[list[float]]:
    """Numbers spread over each weight that moves, which change when the weight does."""
    local = [getattr(weight, "to_local", lambda w=weight: w)() for weight in learner.trainable.values()]
    return [weight.detach().flatten()[:: 1 + weight.numel() // _FINGERPRINT].tolist() for weight in local]


def _refuse_broken(loss: float, step: int, lr: float) -> None:
    if math.isfinite(loss):
        return
    if step == 1:
        raise TrainingError(
            "The loss of step 1 is NaN or infinite before any weight was updated, so the model itself is the cause.",
            "Its weights may be damaged, or too large for the number format: try `dtype: float32`.",
        )
    raise TrainingError(
        f"The loss of step {step} is {loss}: training has diverged.",
        f"Lower the learning rate (it was {lr:.1e}), for example to a third, or lengthen `warmup`.",
    )


def _nothing_moved(step: int, lr: float, grad_norm: float) -> TrainingError:
    return TrainingError(
        f"After {step} steps no weight has changed (learning rate {lr:.1e}, gradient norm {grad_norm:.1e}).",
        "Raise `lr` if it is tiny. If the gradient is 0, no trained weight affects the loss: check `targets`.",
    )


def _started(learner: Learner, steps: int, total_steps: int) -> Started:
    examples = learner.train
    trainable = sum(weight.numel() for weight in learner.trainable.values())
    return Started(
        examples=len(examples),
        heldout_examples=len(learner.heldout),
        dropped_rows=tuple(examples.dropped[:_NAMED_ROWS]),
        truncated_rows=tuple(examples.truncated[:_NAMED_ROWS]),
        trained_tokens=examples.trained_tokens,
        total_steps=total_steps,
        trainable_parameters=trainable,
        total_parameters=count_parameters(learner.model),
        adapter_bytes=4 * trainable,
        device=str(learner.device),
        dtype=str(learner.dtype).removeprefix("torch."),
        attention=learner.attention,
        lr=learner.recipe.peak_lr,
        reasons=learner.reasons,
        baselines=entropies(examples, len(learner.tokenizer)) if examples.text_bytes else {},
        notes=(*settings_without_effect(learner, steps), *examples.notes_on_keys()),
    )
