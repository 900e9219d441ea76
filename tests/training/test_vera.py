"""VeRA, which is one file and one line in the registry: everything that ftdemo does with a method works with it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import carried_out, interrupted, steps
from peft import PeftModel
from transformers import AutoModelForCausalLM

from ftdemo.estimate.parameters import parameter_counts
from ftdemo.methods import METHODS
from ftdemo.models import load
from ftdemo.recipe import NAMED, Recipe
from ftdemo.runs.publish import last_logits
from ftdemo.runs.run import Run
from ftdemo.runs.save import model_card
from ftdemo.training.prepare import prepare

VERA = Recipe(
    method="vera", examples=24, max_steps=6, epochs=6, sample_prompts=2, eval_every=3, lr=0.05, dtype="float32"
)


@pytest.fixture(scope="module")
def vera_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run: Run = carried_out(VERA, tmp_path_factory.mktemp("vera") / "run")
    return run


def test_the_registry_is_all_that_knows_a_method_by_name() -> None:
    assert METHODS["vera"].name == "vera"
    assert NAMED["vera"].method == "vera"
    assert NAMED["vera"].rank == 256


def test_only_two_vectors_per_layer_are_trained_and_as_many_as_the_formula_says() -> None:
    learner = prepare(VERA)
    assert {name.split(".")[-2] for name in learner.trainable} == {"vera_lambda_b", "vera_lambda_d"}
    counted = parameter_counts(load.configuration("tiny"), method="vera", rank=256)
    assert sum(weight.numel() for weight in learner.trainable.values()) == counted.trainable


def test_training_starts_from_the_base_exactly() -> None:
    learner = prepare(VERA)
    ids = torch.tensor([learner.train[0].input_ids])
    with torch.no_grad():
        adapted = learner.model(ids).logits
        with learner.model.disable_adapter():
            base = learner.model(ids).logits
    assert torch.equal(adapted, base)


def test_the_loss_falls_and_the_record_says_why_the_learning_rate_is_what_it_is(vera_run: Run) -> None:
    losses = vera_run.record["heldout_loss"]
    assert losses["after"] < losses["before"]
    started = vera_run.events[0]
    assert started.reasons["lr"] == "set in the recipe"  # type: ignore[union-attr]


def test_plain_peft_loads_the_adapter_and_gives_the_runs_logits(vera_run: Run) -> None:
    model, tokenizer = vera_run.load_model()
    base = AutoModelForCausalLM.from_pretrained(load.resolve("tiny").path, dtype=torch.float32)
    plain = PeftModel.from_pretrained(base, vera_run.folder).eval()
    texts = ["How was the voyage?"]
    ours, theirs = (last_logits(each, tokenizer, texts) for each in (model, plain))
    assert torch.allclose(ours, theirs, atol=1e-4)  # float32 sums in another order


def test_a_stopped_run_resumes_to_the_run_that_it_would_have_been(vera_run: Run, tmp_path: Path) -> None:
    stopped = interrupted(VERA, tmp_path / "stopped", after=3)
    resumed = carried_out(stopped.recipe, stopped.folder, resume=stopped)
    assert [step.loss for step in steps(resumed.events)] == [step.loss for step in steps(vera_run.events)]


def test_its_card_names_it(vera_run: Run) -> None:
    card = model_card(vera_run.record)
    assert "VeRA adapter for ftdemo-tiny" in card
    assert "A rank-256 VeRA adapter" in card
