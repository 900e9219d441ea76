"""What a run takes, before it begins: formulas against real models, and forecasts against real runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from click.testing import CliRunner
from conftest import LLAMA_2_70B, QUICK

from ftdemo.cli.main import main
from ftdemo.errors import RecipeError, UsageError
from ftdemo.estimate import memory, throughput
from ftdemo.estimate.forecast import forecast
from ftdemo.estimate.parameters import parameter_counts
from ftdemo.models import load as models
from ftdemo.recipe import Recipe, named
from ftdemo.training.inspection import inspect_recipe
from ftdemo.training.loop import assemble, plan_run
from ftdemo.training.prepare import prepare

SMALL = memory.Size(total=1000, matrices=800, layers=2, width=10, inner=20, heads=2, key_width=5, vocabulary=7)


@pytest.mark.parametrize("name", ["smollm2", "tiny", "nano"])
def test_a_size_is_read_from_the_configuration_and_agrees_with_the_parameters_that_are_counted(name: str) -> None:
    config = models.configuration(name)
    size = memory.size_of(config)
    assert size.total == parameter_counts(config, method="full").total
    per_layer = 2 * size.width**2 + 2 * size.width * size.key_width + 3 * size.width * size.inner
    assert size.matrices == size.layers * per_layer


def test_a_model_of_seventy_billion_is_sized_without_its_weights() -> None:
    size = memory.size_of(LLAMA_2_70B)
    assert size.total == 68_976_648_192


def test_a_configuration_that_does_not_say_what_is_needed_is_refused() -> None:
    with pytest.raises(RecipeError, match="does not say num_attention_heads"):
        memory.size_of(hf.MambaConfig(hidden_size=32, num_hidden_layers=1, vocab_size=64))


def test_memory_is_counted_by_hand() -> None:
    full = memory.training_memory(SMALL, trainable=1000, low_rank=False, batch_tokens=3, row_tokens=4, trained_tokens=2)
    assert (full.weights, full.gradients, full.optimizer) == (4000, 4000, 8000)
    assert full.activations == 4 * 2 * 3 * (70 + 10 + 60 + 8)
    assert full.logits == 4 * 2 * 7
    assert full.workspace == pytest.approx(0.45 * (full.activations + full.logits))
    assert full.total == pytest.approx(4000 + 4000 + 8000 + 1.45 * (full.activations + full.logits))
    mixed = memory.training_memory(
        SMALL, trainable=1000, low_rank=False, products="bfloat16", batch_tokens=3, row_tokens=4
    )
    assert mixed.activations == 2 * 2 * 3 * (120 + 10 + 60 + 8)
    assert mixed.workspace == pytest.approx(0.45 * (mixed.activations + mixed.logits) + 2000)
    lora = memory.training_memory(SMALL, trainable=10, low_rank=True, frozen="nf4", products="bfloat16", batch_tokens=3)
    assert lora.weights == 800 * 0.5625 + 200 * 2 + 40
    assert lora.logits == 2 * 3 * 7


@pytest.mark.parametrize(
    ("model", "method", "dtype"),
    [
        ("tiny", "full", "float32"),
        ("tiny", "full", "bfloat16"),
        ("tiny", "lora", "float32"),
        ("tiny", "lora", "bfloat16"),
        ("smollm2", "lora", "bfloat16"),  # its heads share keys
    ],
)
def test_what_a_real_forward_pass_keeps_is_what_the_formula_says(model: str, method: str, dtype: str) -> None:
    """By the tensors that autograd saves. The formula has all but a few small ones, 3% of the whole."""
    learner = prepare(named(method, model).with_settings({"dtype": dtype, "examples": 16}))
    batch = assemble(learner, learner.train, plan_run(learner)[0])
    weights = {weight.untyped_storage().data_ptr() for weight in learner.model.parameters()}
    saved: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in weights:
            saved[place] = tensor  # held, so that its place is not given to another
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = learner.method.loss(learner.model, batch, learner)
    rows, length = batch.input_ids.shape
    size = memory.size_of(models.configuration(model))
    predicted = memory.training_memory(
        size,
        trainable=0,
        low_rank=method == "lora",
        products=dtype,
        batch_tokens=rows * length,
        row_tokens=length,
        trained_tokens=0,
    )
    copies = 2 * size.total if method == "full" and dtype == "bfloat16" else 0
    held = sum(tensor.untyped_storage().nbytes() for tensor in saved.values())
    assert held == pytest.approx(predicted.activations + copies, rel=0.05)
    assert loss.isfinite()


def test_training_beside_frozen_weights_takes_two_thirds_of_the_operations() -> None:
    work: dict[str, Any] = {"tokens": 10, "row_tokens": 4, "trained_share": 0.5}
    full = memory.operations(SMALL, trainable=1000, low_rank=False, **work)
    assert full == 10 * 3 * (2 * 800 + 2 * 2 * 10 * 4 + 2 * 10 * 7 * 0.5)
    assert memory.operations(SMALL, trainable=0, low_rank=True, **work) == pytest.approx(full * 2 / 3)
    assert memory.operations(SMALL, trainable=10, low_rank=True, **work) == pytest.approx(full * 2 / 3 + 600)


def test_time_and_price_follow_from_operations_and_tokens() -> None:
    assert memory.seconds_on(memory.ACCELERATORS["H100"], 989e12, 0.5) == 2.0
    assert memory.price(2e6, 25) == 50.0
    for device in memory.ACCELERATORS.values():
        assert device.source.startswith("https://")


# Forecasts


def test_a_forecast_counts_what_the_run_then_counts(tmp_path: Path) -> None:
    recipe = named("lora", "tiny").with_settings({"examples": 24, "sample_prompts": 2, "eval_every": None})
    predicted = forecast(recipe, devices=["L4"], per_million=25, timed=False)
    started = throughput.amount(recipe)
    assert (predicted.rows, predicted.tokens, predicted.tokens_estimated) == (24, started.tokens, False)
    assert predicted.counts.trainable == 175_104
    assert predicted.price == pytest.approx(started.tokens * 25e-6)
    assert predicted.this_machine.seconds is None
    assert predicted.this_machine.untimed_reason == "not requested"
    [there] = predicted.accelerators
    assert there.fits
    assert there.seconds > 0
    assert (
        json.loads(json.dumps(predicted.as_dict()))["this_machine"]["memory_bytes"]
        == predicted.this_machine.memory_bytes
    )


def test_the_predicted_tokens_of_an_epoch_are_those_of_its_examples() -> None:
    """The first 32 rows stand for all; this recipe has only 12, so the prediction has to be exact."""
    reads = throughput.amount(QUICK.with_settings({"max_steps": None, "epochs": 1.0}))
    assert reads.tokens == sum(inspect_recipe(QUICK).examples.lengths)


def test_a_forecast_of_this_machine_times_real_steps(lora_recipe: Recipe) -> None:
    predicted = forecast(lora_recipe)
    assert predicted.this_machine.seconds is not None
    assert predicted.this_machine.training_seconds is not None
    assert 0 < predicted.this_machine.training_seconds < predicted.this_machine.seconds


def test_without_weights_tokens_are_estimated_from_characters_and_nothing_is_timed(tmp_path: Path) -> None:
    LLAMA_2_70B.save_pretrained(tmp_path)
    recipe = Recipe(method="qlora", model=str(tmp_path), data="replies")
    predicted = forecast(recipe, devices=["H100", "L4"])
    assert predicted.tokens_estimated
    assert predicted.rows == 310
    by_tokens = throughput.amount(Recipe(method="lora", model="smollm2", data="replies")).row_tokens
    assert predicted.row_tokens == pytest.approx(by_tokens, rel=0.35)  # four characters per token is a rule of thumb
    assert predicted.this_machine.seconds is None
    assert [each.fits for each in predicted.accelerators] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "predicted"),
    [
        (["probe"], "`method` is probe, for which ftdemo cannot estimate."),
        (["--gpu", "K80"], "There is no accelerator called K80."),
        (["lora", "--method", "full"], "lora and --method both name the method."),
        (["--rank", "5000"], "`rank`"),
        (["--data", "nowhere.jsonl"], "There is no data called nowhere.jsonl"),
        (["--model", "."], "the configuration of the model cannot be read"),
    ],
)
def test_the_shell_says_what_it_cannot_predict(arguments: list[str], predicted: str) -> None:
    result = CliRunner().invoke(main, ["estimate", "--no-time", *arguments])
    assert result.exit_code in (1, 2)
    assert predicted in result.stderr
    assert "Traceback" not in result.output


def test_the_shell_prints_memory_by_part_and_time_by_device() -> None:
    short = ["--set", "examples=16", "--set", "sample_prompts=1", "--set", "answer_tokens=4"]
    arguments = ["estimate", "--model", "tiny", "--gpu", "T4", "--price", "25", *short]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    for words in (
        "tiny by lora: 175,104 of 3,054,528 parameters are trained",
        "optimizer",
        "NVIDIA T4",
        "would charge",
    ):
        assert words in result.stdout
    as_json = CliRunner().invoke(main, [*arguments, "--json", "--no-time"])
    assert json.loads(as_json.stdout)["counts"]["trainable"] == 175_104


def test_an_unknown_device_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UsageError, match="The accelerators are: T4, L4"):
        forecast(Recipe(model="nobody/nothing"), devices=["TPU"])
