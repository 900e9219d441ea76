from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from conftest import QUICK

from ftdemo.batches import collate, plan_batches
from ftdemo.errors import TrainingError
from ftdemo.events import Evaluated, Event, Finished, Started, Step
from ftdemo.methods import Learner, prepare
from ftdemo.train import completion_loss, heldout_loss, learning_rate, train


@pytest.fixture(scope="module")
def learner() -> Learner:
    return prepare(QUICK)


@pytest.fixture(scope="module")
def trained() -> tuple[dict[str, torch.Tensor], Learner, list[Event]]:
    """The weights before a short run, the learner after it, and its events."""
    fresh = prepare(QUICK)
    before = {name: weight.detach().clone() for name, weight in fresh.model.named_parameters()}
    return before, fresh, list(train(QUICK, fresh))


def steps(events: list[Event]) -> list[Step]:
    return [event for event in events if isinstance(event, Step)]


def test_a_few_steps_lower_the_loss(trained: tuple[Any, Learner, list[Event]]) -> None:
    _, _, events = trained
    heldout = [event.loss for event in events if isinstance(event, Evaluated)]
    assert heldout[-1] < heldout[0]
    assert steps(events)[-1].loss < steps(events)[0].loss


def test_only_adapter_weights_change(trained: tuple[dict[str, torch.Tensor], Learner, list[Event]]) -> None:
    before, after, _ = trained
    changed = {name for name, weight in after.model.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == set(after.trainable)
    assert all(".lora_A." in name or ".lora_B." in name for name in changed)


def test_events_come_in_order(trained: tuple[Any, Learner, list[Event]]) -> None:
    events = trained[2]
    assert [type(event) for event in events] == [Started, Step, Step, Evaluated, Step, Step, Evaluated, Finished]
    assert [step.step for step in steps(events)] == [1, 2, 3, 4]


def test_the_epoch_counts_passes_over_the_rows_also_where_max_steps_ends_the_run_early(
    trained: tuple[Any, Learner, list[Event]],
) -> None:
    _, learner, events = trained
    plan = plan_batches(learner.train, batch_tokens=QUICK.batch_tokens, epochs=QUICK.epochs, seed=QUICK.seed)
    assert len(plan) > len(steps(events))
    assert steps(events)[-1].epoch == pytest.approx(len(steps(events)) * QUICK.epochs / len(plan))


def test_tokens_count_the_text_of_each_batch_without_padding(trained: tuple[Any, Learner, list[Event]]) -> None:
    _, learner, events = trained
    plan = plan_batches(learner.train, batch_tokens=QUICK.batch_tokens, epochs=QUICK.epochs, seed=QUICK.seed)
    read = [sum(map(len, batch)) for batch in plan]
    assert [step.tokens for step in steps(events)] == [sum(read[: step.step]) for step in steps(events)]


def test_the_same_recipe_gives_the_same_numbers(trained: tuple[Any, Learner, list[Event]]) -> None:
    again = list(train(QUICK))
    assert [(step.loss, step.grad_norm) for step in steps(again)] == [
        (step.loss, step.grad_norm) for step in steps(trained[2])
    ]


def test_logits_only_at_trained_tokens_give_the_loss_of_all_logits(learner: Learner) -> None:
    batch = collate(learner.train[:3], learner.tokenizer.pad_token_id)
    with torch.no_grad():
        sparse = completion_loss(learner.model, batch)
        logits = learner.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        full = torch.nn.functional.cross_entropy(logits[batch.predict], batch.targets)
    # float32 sums in another order: 1e-5 is some hundred roundings of a loss near 5
    assert sparse.item() == pytest.approx(full.item(), abs=1e-5)


def test_padded_rows_have_the_loss_and_gradient_of_rows_alone(learner: Learner) -> None:
    examples = sorted(learner.train, key=len)
    pair = [examples[0], examples[-1]]  # the most padding there is
    together = loss_and_gradient(learner, [pair])
    alone = loss_and_gradient(learner, [[example] for example in pair])
    assert together[0] == pytest.approx(alone[0], abs=1e-5)
    assert torch.allclose(together[1], alone[1], rtol=1e-3, atol=1e-6)


def loss_and_gradient(learner: Learner, batches: list[list[Any]]) -> tuple[float, torch.Tensor]:
    """Mean loss a trained token over all batches, and its gradient, as one vector."""
    total = sum(example.trained_tokens for batch in batches for example in batch)
    learner.model.zero_grad()
    value = 0.0
    for examples in batches:
        batch = collate(examples, learner.tokenizer.pad_token_id)
        loss = completion_loss(learner.model, batch) * len(batch.targets) / total
        loss.backward()
        value += loss.item()
    gradient = torch.cat([w.grad.flatten() for w in learner.trainable.values() if w.grad is not None])
    learner.model.zero_grad()
    return value, gradient


def test_the_head_is_whole_again_after_a_step(learner: Learner) -> None:
    batch = collate(learner.train[:1], learner.tokenizer.pad_token_id)
    with torch.no_grad():
        completion_loss(learner.model, batch)
        logits = learner.model(input_ids=batch.input_ids).logits
    assert logits.shape == (*batch.input_ids.shape, learner.model.config.vocab_size)


def test_heldout_loss_is_the_mean_over_tokens_whatever_the_batches(learner: Learner) -> None:
    one_by_one = replace(learner, recipe=learner.recipe.with_settings({"batch_tokens": 16}))
    assert heldout_loss(one_by_one) == pytest.approx(heldout_loss(learner), abs=1e-5)


def test_a_closed_generator_leaves_the_trained_weights_in_the_model() -> None:
    fresh = prepare(QUICK)
    events = train(QUICK, fresh)
    while not isinstance(next(events), Step):
        pass
    events.close()
    moved = [weight for name, weight in fresh.trainable.items() if ".lora_B." in name]
    assert all(weight.abs().sum() > 0 for weight in moved)


def test_a_loss_that_is_no_number_stops_the_run_and_says_why() -> None:
    fresh = prepare(QUICK)
    with torch.no_grad():
        next(iter(fresh.trainable.values())).fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"(?s)loss of step 1 is nan.*Lower the learning rate"):
        list(train(QUICK, fresh))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("linear", [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]),
        ("cosine", [0.5, 1.0, 1.0, 0.853553, 0.5, 0.146447]),
    ],
)
def test_the_learning_rate_rises_in_warmup_and_falls_by_the_schedule(schedule: str, expected: list[float]) -> None:
    recipe = QUICK.with_settings({"schedule": schedule, "warmup": 1 / 3, "lr": 1.0})
    assert [learning_rate(recipe, step, 6) for step in range(1, 7)] == pytest.approx(expected, abs=1e-6)


def test_bfloat16_weights_give_nearly_the_float32_loss(learner: Learner) -> None:
    rounded = prepare(QUICK.with_settings({"dtype": "bfloat16"}))
    batch = collate(learner.train[:4], learner.tokenizer.pad_token_id)
    with torch.no_grad():
        exact, rough = completion_loss(learner.model, batch).item(), completion_loss(rounded.model, batch).item()
    # bfloat16 keeps 8 bits, a relative step of 1/256; over 30 layers errors average out to about that
    assert rough == pytest.approx(exact, rel=2 / 256)
    assert all(weight.dtype == torch.float32 for weight in rounded.trainable.values())
