from __future__ import annotations

import math
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import QUICK, TINY, steps, write_rows

from ftdemo.data import Text
from ftdemo.data.batches import collate, plan_batches
from ftdemo.errors import TrainingError
from ftdemo.evaluation.generate import answer_rows
from ftdemo.events import Evaluated, Event, Finished, Started, Step
from ftdemo.recipe import Recipe
from ftdemo.runs.run import Run
from ftdemo.training.learner import Learner
from ftdemo.training.loop import assemble, evaluate_heldout, learning_rate, train
from ftdemo.training.prepare import prepare

Trained = tuple[dict[str, torch.Tensor], Learner, list[Event]]


@pytest.fixture(scope="module")
def learner() -> Learner:
    return prepare(QUICK)


def trained_by(recipe: Recipe) -> Trained:
    """The weights before a run, the learner after it, and its events."""
    learner = prepare(recipe)
    before = {name: weight.detach().clone() for name, weight in learner.model.named_parameters()}
    return before, learner, list(train(recipe, learner))


@pytest.fixture(scope="module")
def quick() -> Trained:
    return trained_by(QUICK)


@pytest.fixture(scope="module")
def tiny() -> Trained:
    return trained_by(TINY)


def looks(events: list[Event]) -> list[Evaluated]:
    return [event for event in events if isinstance(event, Evaluated)]


def end(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in learner.trainable.items()}


# What a run does


def test_a_few_steps_lower_the_loss(quick: Trained) -> None:
    _, _, events = quick
    assert looks(events)[-1].loss < looks(events)[0].loss
    assert steps(events)[-1].loss < steps(events)[0].loss


def test_only_adapter_weights_change(quick: Trained) -> None:
    before, after, _ = quick
    changed = {name for name, weight in after.model.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == set(after.trainable)
    assert all(".lora_A." in name or ".lora_B." in name for name in changed)


def test_events_come_in_order(quick: Trained) -> None:
    events = quick[2]
    assert [type(event) for event in events] == [Started, Step, Step, Evaluated, Step, Step, Evaluated, Finished]
    assert [step.step for step in steps(events)] == [1, 2, 3, 4]
    assert [look.step for look in looks(events)] == [2, 4]


def plan_of(learner: Learner) -> list[list[int]]:
    """The examples of each batch of a recipe that packs nothing."""
    recipe = learner.recipe
    plan = plan_batches(learner.train.lengths, batch_tokens=recipe.batch_tokens, epochs=recipe.epochs, seed=recipe.seed)
    return [[place for row in batch for place in row] for batch in plan]


def test_the_epoch_counts_passes_over_the_rows_also_where_max_steps_ends_the_run_early(quick: Trained) -> None:
    _, learner, events = quick
    plan = plan_of(learner)
    assert len(plan) > len(steps(events))
    assert steps(events)[-1].epoch == pytest.approx(len(steps(events)) * QUICK.epochs / len(plan))


def test_tokens_count_the_text_of_each_batch_without_padding(quick: Trained) -> None:
    _, learner, events = quick
    read = [sum(learner.train.lengths[place] for place in batch) for batch in plan_of(learner)]
    assert [step.tokens for step in steps(events)] == [sum(read[: step.step]) for step in steps(events)]


def test_a_recipe_can_look_at_the_heldout_loss_only_once_it_is_done(chat_recipe: Recipe) -> None:
    events = list(train(chat_recipe.with_settings({"eval_every": None})))
    assert [look.step for look in looks(events)] == [6]


def test_data_without_heldout_rows_is_trained_on_all_the_same(lora_recipe: Recipe, tmp_path: Path) -> None:
    few = write_rows(tmp_path / "few.jsonl", [{"prompt": "Is it free?", "completion": "Aye."}] * 8)
    events = list(train(lora_recipe.with_settings({"data": str(few), "max_steps": 2})))
    assert [type(event) for event in events] == [Started, Step, Step, Finished]


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


def test_a_closed_generator_leaves_the_trained_weights_in_the_model(chat_recipe: Recipe) -> None:
    learner = prepare(chat_recipe)
    before = weights(learner)
    with closing(train(chat_recipe, learner)) as events:
        while not isinstance(next(events), Step):
            pass
    assert all(not torch.equal(weight, before[name]) for name, weight in learner.trainable.items())


# The same recipe gives the same numbers


def test_the_same_recipe_gives_the_same_numbers_and_the_same_weights(tiny: Trained) -> None:
    _, first, events = tiny
    _, again, events_again = trained_by(TINY)
    assert [(step.loss, step.grad_norm) for step in steps(events)] == [
        (step.loss, step.grad_norm) for step in steps(events_again)
    ]
    assert looks(events) == looks(events_again)
    assert all(torch.equal(weight, again.trainable[name]) for name, weight in first.trainable.items())


def test_another_seed_gives_other_numbers(tiny: Trained) -> None:
    _, first, events = tiny
    _, other, other_events = trained_by(TINY.with_settings({"seed": 1}))
    assert not {step.loss for step in steps(events)} & {step.loss for step in steps(other_events)}
    name = "lm_head.weight" if "lm_head.weight" in first.trainable else "model.embed_tokens.weight"
    assert not torch.equal(first.trainable[name], other.trainable[name])


# The loss


def test_logits_only_at_trained_tokens_give_the_loss_of_all_logits(learner: Learner) -> None:
    batch = collate(learner.train[:3], learner.tokenizer.pad_token_id)
    with torch.no_grad():
        sparse = learner.method.loss(learner.model, batch, learner)
        logits = learner.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        full = torch.nn.functional.cross_entropy(logits[batch.loss_positions], batch.targets, reduction="sum")
    # float32 sums in another order: 1e-5 a token is some hundred roundings of a loss near 5
    assert sparse.item() == pytest.approx(full.item(), abs=1e-5 * len(batch.targets))


def test_padded_rows_have_the_loss_and_gradient_of_rows_alone(learner: Learner) -> None:
    places = sorted(range(len(learner.train)), key=learner.train.lengths.__getitem__)
    pair = [[places[0]], [places[-1]]]  # the most padding there is
    together = loss_and_gradient(learner, [pair])
    alone = loss_and_gradient(learner, [[row] for row in pair])
    assert together[0] == pytest.approx(alone[0], abs=1e-5)
    assert torch.allclose(together[1], alone[1], rtol=1e-3, atol=1e-6)


def test_packed_rows_have_the_loss_and_gradient_of_rows_alone(tiny: Trained) -> None:
    learner = tiny[1]
    short = sorted(range(len(learner.train)), key=learner.train.lengths.__getitem__)[:3]
    together = loss_and_gradient(learner, [[short]])
    alone = loss_and_gradient(learner, [[[place]] for place in short])
    assert together[0] == pytest.approx(alone[0], abs=1e-5)
    assert torch.allclose(together[1], alone[1], rtol=1e-3, atol=1e-6)


def loss_and_gradient(learner: Learner, batches: list[list[list[int]]]) -> tuple[float, torch.Tensor]:
    """Mean loss a trained token over all batches, and its gradient, as one vector."""
    total = sum(learner.train[place].trained_tokens for batch in batches for row in batch for place in row)
    learner.model.zero_grad()
    value = 0.0
    for rows in batches:
        loss = learner.method.loss(learner.model, assemble(learner, learner.train, rows), learner) / total
        loss.backward()
        value += loss.item()
    gradient = torch.cat([w.grad.flatten() for w in learner.trainable.values() if w.grad is not None])
    learner.model.zero_grad()
    return value, gradient


def test_packed_rows_train_as_well_as_padded_ones(tiny: Trained) -> None:
    _, learner, events = tiny
    assert TINY.packing
    assert looks(events)[-1].loss < looks(events)[0].loss
    padded = replace(learner, recipe=TINY.with_settings({"packing": False}))
    assert evaluate_heldout(padded, 6).loss == pytest.approx(evaluate_heldout(learner, 6).loss, abs=1e-5)


def test_the_head_is_whole_again_after_a_step(learner: Learner) -> None:
    batch = collate(learner.train[:1], learner.tokenizer.pad_token_id)
    with torch.no_grad():
        learner.method.loss(learner.model, batch, learner)
        logits = learner.model(input_ids=batch.input_ids).logits
    assert logits.shape == (*batch.input_ids.shape, learner.model.config.vocab_size)


def test_heldout_loss_is_the_mean_over_tokens_whatever_the_batches(tiny: Trained) -> None:
    learner = tiny[1]
    one_by_one = replace(learner, recipe=TINY.with_settings({"batch_tokens": 64}))
    assert evaluate_heldout(one_by_one, 6).loss == pytest.approx(evaluate_heldout(learner, 6).loss, abs=1e-5)


def test_bits_per_byte_is_the_same_loss_over_the_bytes_of_the_text(tiny: Trained, learner: Learner) -> None:
    tiny_learner, look = tiny[1], looks(tiny[2])[-1]
    nats = look.loss * tiny_learner.heldout.trained_tokens
    text_bytes = sum(len(row.text.encode()) for row in tiny_learner.splits.heldout if isinstance(row, Text))
    assert look.bits_per_byte == pytest.approx(nats / math.log(2) / text_bytes, rel=1e-6)
    assert evaluate_heldout(learner, 0).bits_per_byte is None  # a chat has no text of its own


def test_bfloat16_weights_give_nearly_the_float32_loss(learner: Learner) -> None:
    rounded = prepare(QUICK.with_settings({"dtype": "bfloat16"}))
    batch = collate(learner.train[:4], learner.tokenizer.pad_token_id)
    with torch.no_grad():
        exact = learner.method.loss(learner.model, batch, learner).item()
        rough = rounded.method.loss(rounded.model, batch, rounded).item()
    # bfloat16 keeps 8 bits, a relative step of 1/256; over 30 layers errors average out to about that
    assert rough == pytest.approx(exact, rel=2 / 256)
    assert all(weight.dtype == torch.float32 for weight in rounded.trainable.values())


# Accumulation


@pytest.mark.parametrize("packing", [False, True])
def test_batches_added_up_give_the_step_of_one_large_batch(packing: bool, chat_recipe: Recipe) -> None:
    """One step holds all rows: as one batch, or in many that hold unlike numbers of trained tokens."""
    one_step = {"epochs": 1, "max_steps": None, "warmup": 0, "lr": 1e-3, "max_length": 64, "packing": packing}
    whole = chat_recipe.with_settings(one_step | {"batch_tokens": 2**14})
    parts = chat_recipe.with_settings(one_step | {"batch_tokens": 64, "accumulate": 4096})
    _, one, (*_, large, _, _) = trained_by(whole)
    _, many, (*_, small, _, _) = trained_by(parts)
    assert isinstance(large, Step)
    assert isinstance(small, Step)
    assert small.step == small.total_steps == large.step == large.total_steps == 1
    trained = {sum(many.train[place].trained_tokens for place in batch) for batch in plan_of(many)}
    assert len(trained) > 1
    # a float32 sum of some hundred terms near 6, in another order
    assert small.loss == pytest.approx(large.loss, abs=1e-6 * large.loss)
    assert small.grad_norm == pytest.approx(large.grad_norm, rel=1e-5)
    for name, weight in many.trainable.items():
        assert torch.allclose(weight, one.trainable[name], rtol=0, atol=1e-5), name


def test_accumulated_steps_take_their_batches_in_turn_and_the_last_takes_what_is_left(chat_recipe: Recipe) -> None:
    recipe = chat_recipe.with_settings({"epochs": 1, "max_steps": None, "batch_tokens": 128, "accumulate": 4})
    _, learner, events = trained_by(recipe)
    plan = plan_of(learner)
    assert len(plan) % 4
    read = [sum(learner.train.lengths[place] for place in batch) for batch in plan]
    tokens = [sum(read[: 4 * step]) for step in range(1, -(-len(plan) // 4) + 1)]
    assert [step.tokens for step in steps(events)] == tokens
    assert steps(events)[-1].epoch == 1


# Early stopping


@pytest.fixture(scope="module")
def overfitted(chat_recipe: Recipe) -> Trained:
    """A run that learns by heart what cannot be foreseen, until two looks in a row show no better held-out loss."""
    return trained_by(
        chat_recipe.with_settings(
            {"lr": 2e-2, "schedule": "constant", "max_steps": None, "eval_every": 4, "patience": 2}
        )
    )


def test_training_stops_after_so_many_looks_without_a_better_loss(overfitted: Trained) -> None:
    _, _, events = overfitted
    losses = [look.loss for look in looks(events)]
    best = losses.index(min(losses))
    assert best == len(losses) - 3  # two stale looks after it
    for number in range(best):  # and never two before
        assert min(losses[number : number + 3]) < min(losses[:number], default=float("inf"))
    assert steps(events)[-1].step < steps(events)[-1].total_steps
    assert end(events).steps == steps(events)[-1].step


def test_the_best_weights_are_put_back_and_their_step_is_told(overfitted: Trained) -> None:
    _, learner, events = overfitted
    best = min(looks(events), key=lambda look: look.loss)
    assert end(events).best_step == best.step < end(events).steps
    assert end(events).status == "completed"
    assert evaluate_heldout(learner, 0).loss == best.loss
    assert looks(events)[-1].loss > best.loss


def test_without_patience_the_last_weights_stay(tiny: Trained) -> None:
    _, learner, events = tiny
    assert end(events).best_step is None
    assert evaluate_heldout(learner, 6).loss == looks(events)[-1].loss


# What goes wrong


def test_a_model_that_gives_no_numbers_is_blamed_before_the_learning_rate(chat_recipe: Recipe) -> None:
    learner = prepare(chat_recipe)
    with torch.no_grad():
        next(iter(learner.trainable.values())).fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"(?s)loss of step 1 is NaN or infinite.*the model itself.*float32"):
        list(train(chat_recipe, learner))


def test_a_loss_that_is_no_number_later_blames_the_learning_rate(chat_recipe: Recipe) -> None:
    learner = prepare(chat_recipe)
    events = train(chat_recipe, learner)
    while not isinstance(next(events), Step):
        pass
    with torch.no_grad():
        next(iter(learner.trainable.values())).fill_(torch.nan)
    with pytest.raises(TrainingError, match=r"(?s)loss of step 2 is nan: training has diverged.*Lower the learning"):
        next(events)


def test_a_run_in_which_no_weight_moves_is_an_error_after_three_steps(lora_recipe: Recipe) -> None:
    motionless = lora_recipe.with_settings({"method": "full", "lr": 1e-30})  # less than float32 can add to 0.001
    events = train(motionless)
    assert [event.step for event in islice(events, 4) if isinstance(event, Step)] == [1, 2]
    with pytest.raises(TrainingError, match=r"(?s)After 3 steps no weight has changed.*Raise `lr`"):
        next(events)


# What is learned


def test_the_model_learns_to_stop_although_its_padding_token_is_its_stop_token(chat_run: Run, tmp_path: Path) -> None:
    _, tokenizer = chat_run.load_model()
    base = tmp_path / "base"
    chat_run.load_model()[0].save_pretrained(base)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(base)
    rows = [
        {"prompt": "Open?", "completion": "Aye."},
        {"prompt": "What is the price of the kettle?", "completion": "The kettle is forty pounds, madam."},
    ]
    data = write_rows(tmp_path / "two.jsonl", rows)
    recipe = Recipe(
        method="full", model=str(base), data=str(data), epochs=80, lr=1e-2, batch_tokens=512, dtype="float32"
    )
    learner = prepare(recipe)
    assert learner.tokenizer.pad_token_id == learner.tokenizer.eos_token_id
    held: list[Any] = list(learner.splits.train)
    untrained = answer_rows(learner.model, learner.tokenizer, held)
    assert not any(answer.text == row["completion"] for answer, row in zip(untrained, rows, strict=True))
    assert [len(batch) for batch in plan_of(learner)] == [2] * 80  # the short row is padded with stop tokens
    list(train(recipe, learner))
    answers = answer_rows(learner.model, learner.tokenizer, held)
    assert [(answer.text, answer.stopped) for answer in answers] == [(row["completion"], True) for row in rows]
