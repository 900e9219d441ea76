from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from conftest import QUICK

from ftdemo.batches import collate
from ftdemo.errors import DataError, ModelError, RecipeError
from ftdemo.methods import add_lora, prepare
from ftdemo.models import Source, load_causal_lm
from ftdemo.recipe import Recipe


def test_rank_8_on_all_linear_layers_adds_what_the_formula_says(smollm2: Source) -> None:
    model = load_causal_lm(smollm2, torch.float32)
    by_formula = sum(
        8 * (layer.in_features + layer.out_features)
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and name != "lm_head"
    )
    before = sum(weight.numel() for weight in model.parameters())
    adapted = add_lora(model, Recipe(rank=8))
    trainable = sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)
    assert before == 134_515_008
    assert trainable == by_formula == 2_442_240


def test_training_starts_from_the_base_exactly(smollm2: Source) -> None:
    learner = prepare(QUICK)
    base = load_causal_lm(smollm2, torch.float32, learner.attention)
    batch = collate(learner.train[:2], learner.tokenizer.pad_token_id)
    for model in (learner.model, base):
        model.train(False)
    with torch.no_grad():
        adapted = learner.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        plain = base(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    assert torch.equal(adapted, plain)


def test_the_seed_decides_the_start_of_a() -> None:
    def start(seed: int) -> torch.Tensor:
        learner = prepare(QUICK.with_settings({"seed": seed, "sample_prompts": 0}))
        return next(weight for name, weight in learner.trainable.items() if ".lora_A." in name).detach()

    assert torch.equal(start(0), start(0))
    assert not torch.equal(start(0), start(1))


def test_targets_that_are_not_in_the_model_are_refused_with_those_that_are() -> None:
    with pytest.raises(RecipeError, match=r"(?s)`targets`.*all-linear.*q_proj"):
        prepare(QUICK.with_settings({"targets": ["c_attn"]}))


def test_a_rank_beyond_the_smallest_matrix_is_refused() -> None:
    with pytest.raises(RecipeError, match="`rank` is 512, but the smallest targeted matrix has only rank 192"):
        prepare(QUICK.with_settings({"rank": 512}))


def test_rows_that_truncation_leaves_empty_are_dropped_and_named(tmp_path: Path) -> None:
    rows = [{"prompt": "word " * 80, "completion": "no"}, {"prompt": "hi", "completion": "yes"}]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    learner = prepare(QUICK.with_settings({"data": str(file), "max_length": 64}))
    assert learner.dropped_rows == (1,)
    assert [example.row for example in learner.train] == [2]


def test_data_in_which_no_row_is_long_enough_is_refused() -> None:
    with pytest.raises(DataError, match=r"(?s)no row has a trained token within its first 16 tokens.*max_length"):
        prepare(QUICK.with_settings({"max_length": 16}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(ModelError, match=r"(?s)`device` is cuda.*Here there is:.*cpu"):
        prepare(QUICK.with_settings({"device": "cuda"}))
