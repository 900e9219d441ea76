from __future__ import annotations

import importlib.util
import math
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import QUICK, steps, write_rows

from ftdemo.data.batches import collate
from ftdemo.errors import DataError, ModelError, RecipeError
from ftdemo.methods.classifiers import head_only
from ftdemo.methods.full import all_weights
from ftdemo.methods.lora import add_lora
from ftdemo.models.layers import adapted_layers, count_parameters
from ftdemo.models.load import Source, load_causal_lm, resolve
from ftdemo.recipe import Recipe
from ftdemo.training.learner import Learner
from ftdemo.training.loop import assemble, evaluate_heldout, train
from ftdemo.training.prepare import prepare

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="qlora needs bitsandbytes, which is not installed"
)


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    """A copy of all weights, by name."""
    return {name: weight.detach().clone() for name, weight in learner.model.named_parameters()}


def moved(recipe: Recipe) -> tuple[Learner, set[str], set[str]]:
    """The learner after a run, the weights that the run moved, and those that it left."""
    learner = prepare(recipe)
    before = weights(learner)
    list(train(recipe, learner))
    after = weights(learner)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    return learner, moved, before.keys() - moved


# Low rank


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


def test_dora_starts_from_the_base_as_nearly_as_its_lengths_allow(lora_recipe: Recipe) -> None:
    lora, dora = prepare(lora_recipe), prepare(lora_recipe.with_settings({"method": "dora"}))
    # W is taken apart into direction and length and put together again, in float32
    assert evaluate_heldout(dora, 0).loss == pytest.approx(evaluate_heldout(lora, 0).loss, abs=1e-5)


def test_the_seed_decides_the_start_of_a(lora_recipe: Recipe) -> None:
    def start(seed: int) -> torch.Tensor:
        learner = prepare(lora_recipe.with_settings({"seed": seed}))
        return next(weight for name, weight in learner.trainable.items() if ".lora_A." in name).detach()

    assert torch.equal(start(0), start(0))
    assert not torch.equal(start(0), start(1))


@pytest.mark.parametrize(("rank_stabilized", "scale"), [(False, 16 / 4), (True, 16 / math.sqrt(4))])
def test_the_update_is_scaled_by_alpha_over_rank_or_its_root(
    rank_stabilized: bool, scale: float, lora_recipe: Recipe
) -> None:
    recipe = lora_recipe.with_settings({"rank": 4, "alpha": 16.0, "rank_stabilized": rank_stabilized})
    learner = prepare(recipe)
    layer = adapted_layers(learner.model)[0]
    assert {layer.scaling["default"] for layer in adapted_layers(learner.model)} == {scale}
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_()
        x = torch.randn(3, layer.in_features)
        update = x @ layer.lora_A["default"].weight.T @ layer.lora_B["default"].weight.T
        # entries near 10 in float32
        assert torch.allclose(layer(x), layer.base_layer(x) + scale * update, atol=1e-4)


def test_in_lora_plus_b_learns_so_many_times_faster(lora_recipe: Recipe) -> None:
    def b_after_one_step(lr_ratio: float) -> dict[str, torch.Tensor]:
        recipe = lora_recipe.with_settings({"lr_ratio": lr_ratio, "max_steps": 1, "lr": 1e-3})
        learner, _moved, _left = moved(recipe)
        return {name: weight.detach() for name, weight in learner.trainable.items() if ".lora_B." in name}

    plain, faster = b_after_one_step(1), b_after_one_step(16)
    # B starts at zero and AdamW's first step is proportional to the learning rate
    assert all(torch.allclose(faster[name], 16 * plain[name], rtol=1e-5, atol=0) for name in plain)
    assert all(weight.any() for weight in plain.values())


def test_in_lora_plus_a_keeps_the_recipes_learning_rate(lora_recipe: Recipe) -> None:
    recipe = lora_recipe.with_settings({"lr_ratio": 16.0, "warmup": 0})
    learner = prepare(recipe)
    (step, *_) = steps(list(train(recipe, learner)))
    names = {id(weight): name for name, weight in learner.trainable.items()}
    for group in learner.optimizer.param_groups:
        kinds = {names[id(weight)].rpartition(".lora_")[2][0] for weight in group["params"]}
        assert kinds in ({"A"}, {"B"})
        assert group["factor"] == (16.0 if kinds == {"B"} else 1.0)
    assert step.lr == recipe.lr


def test_dora_trains_a_length_for_every_output_of_every_matrix(lora_recipe: Recipe) -> None:
    learner, moved_names, left = moved(lora_recipe.with_settings({"method": "dora"}))
    lengths = {name: weight for name, weight in learner.trainable.items() if "lora_magnitude_vector" in name}
    assert len(lengths) == len(adapted_layers(learner.model)) == 14  # seven matrices in each of two layers
    assert set(lengths) < moved_names == set(learner.trainable)
    assert [weight.numel() for weight in lengths.values()] == [
        layer.out_features for layer in adapted_layers(learner.model)
    ]
    assert not any("lora" in name for name in left)


def test_lora_moves_its_adapter_alone(lora_recipe: Recipe) -> None:
    learner, moved_names, left = moved(lora_recipe)
    assert moved_names == set(learner.trainable)
    assert all(".lora_A." in name or ".lora_B." in name for name in moved_names)
    assert not any("lora" in name for name in left)


# 4-bit


@needs_bitsandbytes
def test_qlora_trains_beside_a_base_that_stays_4_bit_and_unmoved(lora_recipe: Recipe) -> None:
    from bitsandbytes.nn.modules import Linear4bit

    recipe = lora_recipe.with_settings({"method": "qlora"})
    learner, moved_names, left = moved(recipe)
    layers: list[Any] = [layer.base_layer for layer in adapted_layers(learner.model)]
    assert len(layers) == 14
    assert all(isinstance(layer, Linear4bit) and layer.weight.dtype == torch.uint8 for layer in layers)
    assert all(layer.weight.quant_state.quant_type == "nf4" for layer in layers)
    assert moved_names == set(learner.trainable)
    assert all(weight.dtype == torch.float32 for weight in learner.trainable.values())
    assert {name for name in left if name.endswith("base_layer.weight")}


@needs_bitsandbytes
def test_qlora_lowers_the_loss(lora_recipe: Recipe) -> None:
    recipe = lora_recipe.with_settings({"method": "qlora"})
    learner = prepare(recipe)
    before = evaluate_heldout(learner, 0).loss
    list(train(recipe, learner))
    assert evaluate_heldout(learner, 6).loss < before


@needs_bitsandbytes
def test_a_4_bit_base_lets_gradients_through_also_after_it_was_judged(lora_recipe: Recipe) -> None:
    """On processors with bfloat16 instructions bitsandbytes packs the weights for inference, without a way back."""
    learner = prepare(lora_recipe.with_settings({"method": "qlora"}))
    batch = assemble(learner, learner.train, [[0], [1]])

    def gradients() -> list[torch.Tensor]:
        learner.model.train()
        learner.model.zero_grad()
        learner.method.loss(learner.model, batch, learner).backward()
        return [weight.grad.clone() for weight in learner.trainable.values() if weight.grad is not None]

    before = gradients()
    evaluate_heldout(learner, 0)
    after = gradients()
    assert len(before) == len(after) == len(learner.trainable)
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


@needs_bitsandbytes
def test_4_bit_weights_are_counted_two_a_byte(lora_recipe: Recipe) -> None:
    plain, quantized = prepare(lora_recipe), prepare(lora_recipe.with_settings({"method": "qlora"}))
    assert count_parameters(quantized.model) == count_parameters(plain.model)


@needs_bitsandbytes
def test_4_bit_weights_are_nearly_the_weights(lora_recipe: Recipe) -> None:
    plain, quantized = prepare(lora_recipe), prepare(lora_recipe.with_settings({"method": "qlora"}))
    exact, rough = evaluate_heldout(plain, 0).loss, evaluate_heldout(quantized, 0).loss
    # NF4 keeps about 4 bits of each weight; a tenth of the loss is far more than rounding has been seen to cost
    assert rough == pytest.approx(exact, rel=0.1)
    assert rough != exact


# All weights


def test_every_weight_of_a_frozen_model_becomes_trainable() -> None:
    model = load_causal_lm(resolve("tiny"), torch.float32).requires_grad_(False)
    assert all(weight.requires_grad for weight in all_weights(model, Recipe(method="full")).parameters())


@pytest.mark.parametrize("method", ["full", "scratch"])
def test_every_weight_of_the_model_moves(method: str, lora_recipe: Recipe, chat_recipe: Recipe) -> None:
    recipe = chat_recipe if method == "scratch" else lora_recipe.with_settings({"method": "full"})
    learner, moved_names, left = moved(recipe)
    assert not left
    assert moved_names == set(learner.trainable)


def test_weight_decay_acts_on_matrices_alone(lora_recipe: Recipe) -> None:
    def after_one_step(weight_decay: float) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        settings = {"method": "full", "weight_decay": weight_decay, "max_steps": 1, "warmup": 0}
        recipe = lora_recipe.with_settings(settings)
        learner = prepare(recipe)
        before = weights(learner)
        list(train(recipe, learner))
        return before, weights(learner)

    before, plain = after_one_step(0)
    _, decayed = after_one_step(0.5)
    for name, weight in plain.items():
        shrunk = 1e-2 * 0.5 * before[name] if weight.dim() > 1 else torch.zeros(())
        assert torch.allclose(weight - decayed[name], shrunk, atol=1e-7), name
    assert {weight.dim() for weight in plain.values()} == {1, 2}


def test_two_runs_from_random_weights_share_their_start(chat_recipe: Recipe) -> None:
    one, other = prepare(chat_recipe), prepare(chat_recipe.with_settings({"lr": 1e-4}))
    assert all(torch.equal(weight, other.trainable[name]) for name, weight in one.trainable.items())
    third = prepare(chat_recipe.with_settings({"seed": 1}))
    assert not torch.equal(one.trainable["model.embed_tokens.weight"], third.trainable["model.embed_tokens.weight"])


# Classifiers


def test_a_probe_moves_its_head_alone(probe_recipe: Recipe) -> None:
    learner, moved_names, left = moved(probe_recipe.with_settings({"max_steps": 2}))
    assert moved_names == set(learner.trainable) == {"classifier.weight", "classifier.bias"}
    assert len(left) > 90
    assert learner.labels == ("account", "advice", "business", "delivery", "payments", "returns", "warranty", "website")


def test_a_probe_of_a_model_without_a_head_is_refused() -> None:
    with pytest.raises(ModelError, match="no classification head"):
        head_only(load_causal_lm(resolve("tiny"), torch.float32), Recipe(method="probe"))


def test_classify_moves_everything(probe_recipe: Recipe) -> None:
    learner, moved_names, left = moved(classify_recipe(probe_recipe))
    assert not left  # a matrix has moved when one of its numbers has: not every position and word occurs here
    assert moved_names == set(learner.trainable)
    assert learner.model.config.id2label[0] == "account"


def classify_recipe(probe_recipe: Recipe) -> Recipe:
    return probe_recipe.with_settings({"method": "classify", "lr": 2e-4, "max_steps": 2})


@pytest.mark.parametrize("method", ["probe", "classify"])
def test_dropout_is_off_so_that_runs_can_be_compared(method: str, probe_recipe: Recipe) -> None:
    learner = prepare(probe_recipe if method == "probe" else classify_recipe(probe_recipe))
    batch = assemble(learner, learner.train, [[0], [1], [2]])
    with torch.no_grad():
        learner.model.train()
        training = learner.method.loss(learner.model, batch, learner)
        learner.model.eval()
        judging = learner.method.loss(learner.model, batch, learner)
    assert torch.equal(training, judging)


def test_a_classifiers_loss_is_that_of_its_labels(probe_recipe: Recipe) -> None:
    learner = prepare(probe_recipe)
    batch = assemble(learner, learner.train, [[0], [1], [2]])
    with torch.no_grad():
        logits = learner.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        by_hand = torch.nn.functional.cross_entropy(logits, batch.targets, reduction="sum")
        assert learner.method.loss(learner.model, batch, learner).item() == pytest.approx(by_hand.item(), rel=1e-6)
    rows = islice(learner.splits.train, 3)
    assert [learner.labels[target] for target in batch.targets] == [getattr(row, "label", None) for row in rows]


# What is refused


@pytest.mark.parametrize("method", ["lora", "dora", "vera"])
@pytest.mark.parametrize("targets", [["c_attn"], "c_attn", "c_attn, c_proj", "q_proj|v_proj"])
def test_targets_that_are_not_in_the_model_are_refused_with_those_that_are(
    method: str, targets: str | list[str], lora_recipe: Recipe
) -> None:
    with pytest.raises(RecipeError, match=r"(?s)`targets` is .*names no matrix.*all-linear.*q_proj"):
        prepare(lora_recipe.with_settings({"method": method, "targets": targets}))


def test_targets_that_are_no_matrix_are_refused_by_name(lora_recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match=r"also names model\.layers\.0\.self_attn, .* a LlamaAttention"):
        prepare(lora_recipe.with_settings({"targets": "q_proj, self_attn"}))


def test_a_name_and_a_pattern_that_matches_it_train_the_same_matrices(lora_recipe: Recipe) -> None:
    by_name, by_pattern = (
        prepare(lora_recipe.with_settings({"targets": targets})) for targets in ("q_proj", r".*\.q_proj")
    )
    assert by_name.trainable.keys() == by_pattern.trainable.keys()
    assert len(by_name.trainable) == 4  # A and B in each of two layers


def test_a_rank_beyond_the_smallest_matrix_is_refused() -> None:
    with pytest.raises(RecipeError, match="`rank` is 512, but the smallest targeted matrix has only rank 192"):
        prepare(QUICK.with_settings({"rank": 512}))


def test_rows_that_truncation_leaves_empty_are_dropped_and_named(lora_recipe: Recipe, tmp_path: Path) -> None:
    rows = [{"prompt": "word " * 80, "completion": "no"}, {"prompt": "hi", "completion": "yes"}]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    learner = prepare(lora_recipe.with_settings({"data": str(data), "max_length": 64}))
    assert list(learner.train.dropped) == [1]
    assert [example.row for example in learner.train] == [2]


def test_data_in_which_no_row_is_long_enough_is_refused(lora_recipe: Recipe) -> None:
    with pytest.raises(DataError, match=r"(?s)no row has a trained token within its first 8 tokens.*max_length"):
        prepare(lora_recipe.with_settings({"max_length": 8}))


def test_labels_are_refused_where_text_is_learned_and_text_where_labels_are(
    chats: Path, lora_recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"(?s)routing holds texts with labels.*`method` is lora"):
        prepare(lora_recipe.with_settings({"data": "routing"}))
    with pytest.raises(RecipeError, match=r"(?s)`method` is probe, but the rows of .*have no labels"):
        prepare(Recipe(method="probe", data=str(chats)))


def test_a_single_label_is_refused(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "one.jsonl", [{"text": f"Text {n}", "label": "same"} for n in range(4)])
    with pytest.raises(DataError, match=r"(?s)All training examples have the label 'same'.*two classes"):
        prepare(Recipe(method="classify", data=str(data)))


def test_a_label_that_examples_leaves_out_is_a_class_where_a_heldout_row_has_it(tmp_path: Path) -> None:
    rows = [{"text": f"{'bell' * (n + 1)} rang", "label": ("a", "b", "c")[n // 20]} for n in range(60)]
    learner = prepare(Recipe(method="probe", data=str(write_rows(tmp_path / "sorted.jsonl", rows)), examples=30))
    assert learner.labels == ("a", "b", "c")
    assert {example.label for example in learner.heldout} == {0, 1, 2}


def test_a_label_of_heldout_rows_alone_is_refused(tmp_path: Path) -> None:
    rows = [{"text": f"{'bell' * (n + 1)} rang", "label": "ab"[n % 2]} for n in range(12)]
    write_rows(tmp_path / "train.jsonl", rows)
    write_rows(tmp_path / "heldout.jsonl", [{"text": "The horn rang", "label": "c"}])
    with pytest.raises(DataError, match=r"(?s)Row 1: the label 'c' is in no training example.*The classes are: a, b"):
        prepare(Recipe(method="probe", data=str(tmp_path)))


def test_free_text_in_place_of_labels_is_refused(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "free.jsonl", [{"text": "A text", "label": f"label {n}"} for n in range(1200)])
    with pytest.raises(DataError, match=r"(?s)more than 1000 labels.*free text"):
        prepare(Recipe(method="classify", data=str(data)))


def test_a_vocabulary_larger_than_the_texts_give_is_refused(chat_recipe: Recipe) -> None:
    with pytest.raises(DataError, match=r"(?s)The texts give only \d+ tokens, but `vocabulary` is 4096"):
        prepare(chat_recipe.with_settings({"vocabulary": 4096}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_is_refused_with_those_that_are(lora_recipe: Recipe) -> None:
    with pytest.raises(ModelError, match=r"(?s)`device` is cuda.*Here there is:.*cpu"):
        prepare(lora_recipe.with_settings({"device": "cuda"}))
