"""Each kernel against what somebody else wrote: torch's cross-entropy, PEFT's LoRA layer, transformers' attention."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers as hf
from peft import LoraConfig, get_peft_model
from torch.nn import functional

from ftdemo.models import kernels
from ftdemo.models.kernels import cross_entropy_sum, use_fused_gates, use_fused_lora

Tensors = dict[str, torch.Tensor]


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


# The loss


def draw_targets(count: int, vocabulary: int) -> torch.Tensor:
    return torch.randint(vocabulary, (count,), generator=torch.Generator().manual_seed(1))


def value_and_gradient(
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], logits: torch.Tensor, targets: torch.Tensor
) -> Tensors:
    """Of a third of the loss: what comes from above need not be 1."""
    leaf = logits.clone().requires_grad_()
    total = loss(leaf, targets)
    (total / 3).backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    return {"value": total.detach(), "gradient": leaf.grad}


def torch_sum(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits.float(), targets, reduction="sum")


@pytest.mark.parametrize(("count", "vocabulary"), [(1, 2), (7, 11), (40, 49), (3, 5000)])
@pytest.mark.parametrize("scale", [0.1, 30.0], ids=["near uniform", "sharp"])
def test_the_loss_and_its_gradient_are_torchs(count: int, vocabulary: int, scale: float) -> None:
    logits, targets = draw(count, vocabulary, scale=scale), draw_targets(count, vocabulary)
    ours = value_and_gradient(cross_entropy_sum, logits, targets)
    # 1e-6 is eight roundings of float32.
    torch.testing.assert_close(ours, value_and_gradient(torch_sum, logits, targets), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("elements", [49, 100, 49 * 39, 1], ids=["a row", "two rows", "all but one", "less than a row"])
def test_more_rows_than_the_buffer_holds_give_the_same(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, targets = draw(40, 49, scale=3), draw_targets(40, 49)
    monkeypatch.setattr("ftdemo.models.kernels._BUFFER_ELEMENTS", elements)
    ours = value_and_gradient(cross_entropy_sum, logits, targets)
    torch.testing.assert_close(ours, value_and_gradient(torch_sum, logits, targets), rtol=1e-6, atol=1e-6)


def test_of_bfloat16_logits_the_loss_is_computed_in_float32() -> None:
    logits, targets = draw(40, 49, scale=3).bfloat16(), draw_targets(40, 49)
    ours, theirs = (value_and_gradient(loss, logits, targets) for loss in (cross_entropy_sum, torch_sum))
    assert ours["value"].dtype == torch.float32
    assert ours["gradient"].dtype == torch.bfloat16
    torch.testing.assert_close(ours["value"], theirs["value"], rtol=1e-6, atol=0)
    # bfloat16 has eight binary digits, so a rounding is off by 2**-8 at most. Ours are two, of the gradient and of a
    # third of it; theirs is one, of the end.
    torch.testing.assert_close(ours["gradient"], theirs["gradient"], rtol=3 * 2**-8, atol=1e-6)


def test_very_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([[1e30, 0.0], [0.0, 1e30]])
    both = value_and_gradient(cross_entropy_sum, logits, torch.tensor([0, 1]))
    assert both["value"] == 0
    assert not both["gradient"].any()


def test_no_rows_have_no_loss_and_an_empty_gradient() -> None:
    both = value_and_gradient(cross_entropy_sum, torch.empty(0, 49), torch.empty(0, dtype=torch.long))
    assert both["value"] == 0
    assert both["gradient"].shape == (0, 49)


def test_without_gradients_the_loss_is_the_same_number() -> None:
    logits, targets = draw(7, 11).requires_grad_(), draw_targets(7, 11)
    with torch.no_grad():
        total = cross_entropy_sum(logits, targets)
    assert not total.requires_grad
    assert total.item() == cross_entropy_sum(logits, targets).item()


def test_without_gradients_the_logits_are_left_as_they_are() -> None:
    logits = draw(7, 11)
    before = logits.clone()
    cross_entropy_sum(logits, draw_targets(7, 11))
    with torch.no_grad():
        cross_entropy_sum(logits.requires_grad_(), draw_targets(7, 11))
    assert torch.equal(logits, before)


def test_logits_that_another_gradient_is_made_from_are_not_silently_overwritten() -> None:
    """The gradient of tanh is computed from its output, which the loss has written over."""
    logits = draw(7, 11).requires_grad_().tanh()
    total = cross_entropy_sum(logits, draw_targets(7, 11))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()  # type: ignore[no-untyped-call]


# Gates


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_gates_give_the_output_and_gradients_of_plain_ones(dtype: torch.dtype) -> None:
    config = hf.LlamaConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2, vocab_size=50
    )
    torch.manual_seed(0)
    plain: Any = hf.LlamaForCausalLM(config)
    plain.to(dtype)
    gated = copy.deepcopy(plain)
    use_fused_gates(gated)
    assert all("forward" in vars(layer.mlp) for layer in gated.model.layers)
    tokens = draw_targets(30, 50).view(3, 10)
    for model in (plain, gated):
        model(tokens).logits.float().square().sum().backward()
    # In float32 some roundings of 6e-8 apart; in bfloat16 the product is rounded once (2**-8) less or more.
    rtol, atol = (1e-5, 1e-6) if dtype == torch.float32 else (2**-5, 2**-5)
    theirs = {name: weight.grad for name, weight in plain.named_parameters()}
    torch.testing.assert_close(
        {name: weight.grad for name, weight in gated.named_parameters()}, theirs, rtol=rtol, atol=atol
    )


# LoRA


def lora_model(*, bias: bool = False, width: int = 24, **settings: Any) -> Any:
    """Two linear layers with a non-linearity between them, and a LoRA next to each whose B is not zero."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Linear(width, 40, bias=bias), torch.nn.SiLU(), torch.nn.Linear(40, 12, bias=bias)
    )
    config = LoraConfig(**{"r": 4, "lora_alpha": 16, "target_modules": ["0", "2"], **settings}, init_lora_weights=False)
    return get_peft_model(layers, config)


def lora_layers(model: Any) -> list[Any]:
    return [layer for layer in model.modules() if hasattr(layer, "lora_A")]


def fused(model: Any) -> Any:
    """A copy of the model that computes in one function."""
    model = copy.deepcopy(model)
    for layer in lora_layers(model):
        use_fused_lora(layer)
    return model


def run(model: Any, x: torch.Tensor) -> Tensors:
    """Outputs, and the gradients of everything that has one."""
    leaf = x.clone().requires_grad_()
    model.zero_grad()
    output = model(leaf)
    (output.float() * draw(*output.shape, seed=2)).sum().backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    assert leaf.grad is not None
    return {"output": output.detach(), "x": leaf.grad, **gradients}


def assert_close(ours: Tensors, theirs: Tensors) -> None:
    # The values are up to some tens; 1e-5 is a few roundings of float32, summed in another order.
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("shape", [(24,), (5, 24), (2, 5, 24)], ids=str)
def test_fused_lora_is_pefts_lora(bias: bool, shape: tuple[int, ...]) -> None:
    model = lora_model(bias=bias)
    ours = run(fused(model), draw(*shape))
    assert_close(ours, run(model, draw(*shape)))
    assert sum(".lora_" in name for name in ours) == 4


def test_fused_lora_reads_inputs_that_lie_scattered() -> None:
    model = lora_model()
    x = draw(24, 5, 2).transpose(0, 2)
    assert not x.is_contiguous()
    assert_close(run(fused(model), x), run(model, x))


def test_the_frozen_matrix_gets_no_gradient() -> None:
    assert not [name for name in run(fused(lora_model(bias=True)), draw(5, 24)) if "base_layer" in name]


def test_fused_lora_needs_no_gradient_of_its_input() -> None:
    model = lora_model()
    x = draw(5, 24)
    ours, theirs = fused(model), model
    for each in (ours, theirs):
        each(x).sum().backward()
    for our, their in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(our.grad, their.grad, rtol=1e-5, atol=1e-5)


def test_rank_stabilized_scaling_is_kept() -> None:
    model = lora_model(use_rslora=True)
    assert lora_layers(model)[0].scaling["default"] == 16 / 4**0.5
    assert_close(run(fused(model), draw(5, 24)), run(model, draw(5, 24)))


def test_disabled_adapters_leave_the_base() -> None:
    model = lora_model()
    ours, x = fused(model), draw(5, 24)
    adapted = ours(x)
    with ours.disable_adapter(), model.disable_adapter():
        assert torch.equal(ours(x), model(x))
        assert not torch.allclose(ours(x), adapted)
    assert torch.equal(ours(x), adapted)


def test_a_merged_adapter_counts_once() -> None:
    ours, x = fused(lora_model()), draw(5, 24)
    adapted = ours(x)
    ours.merge_adapter()
    torch.testing.assert_close(ours(x), adapted, rtol=1e-5, atol=1e-5)
    ours.unmerge_adapter()
    torch.testing.assert_close(ours(x), adapted, rtol=1e-5, atol=1e-5)


def test_several_adapters_at_once_are_added_up() -> None:
    model = lora_model()
    model.add_adapter("second", LoraConfig(r=2, lora_alpha=4, target_modules=["0"], init_lora_weights=False))
    ours = fused(model)
    for each in (model, ours):
        each.base_model.set_adapter(["default", "second"])
    assert_close(run(ours, draw(5, 24)), run(model, draw(5, 24)))


def test_a_layer_without_the_active_adapter_computes_as_its_base() -> None:
    model = lora_model()
    model.add_adapter("second", LoraConfig(r=2, lora_alpha=4, target_modules=["0"], init_lora_weights=False))
    ours = fused(model)
    for each in (model, ours):
        each.set_adapter("second")
    assert_close(run(ours, draw(5, 24)), run(model, draw(5, 24)))


def test_a_copy_computes_with_its_own_weights() -> None:
    model, x = fused(lora_model()), draw(5, 24)
    before = model(x)
    with model.disable_adapter():
        base = model(x)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, weight in other.named_parameters():
            if "lora_B" in name:
                weight.zero_()
    torch.testing.assert_close(other(x), base, rtol=1e-5, atol=1e-5)
    assert torch.equal(model(x), before)


def test_in_bfloat16_fused_lora_is_as_exact_as_pefts() -> None:
    exact = lora_model()
    model = copy.deepcopy(exact)
    for layer in lora_layers(model):
        layer.base_layer.to(torch.bfloat16)  # adapters stay float32, as in training
    x = draw(64, 24)
    truth = run(exact, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = run(fused(model), x), run(model, x)
    assert ours["output"].dtype == theirs["output"].dtype == torch.bfloat16
    for name, right in truth.items():
        our_error, their_error = ((each[name].float() - right).norm() / right.norm() for each in (ours, theirs))
        # Both round each product to 2**-8, a few times in a row and each in other places, so neither is always nearer.
        assert our_error < 1.5 * their_error < 1.5 * 2**-6, name


# Attention

SMALL: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,  # large, so that attention is sharp
}
GROUPED = SMALL | {"num_key_value_heads": 2, "head_dim": 8}
CONFIGS: dict[str, hf.PretrainedConfig] = {
    "bert": hf.BertConfig(**SMALL),
    "llama": hf.LlamaConfig(**GROUPED),
    "llama, a key head for each head": hf.LlamaConfig(**SMALL),
    "llama, one key head": hf.LlamaConfig(**GROUPED | {"num_key_value_heads": 1}),
    "mistral": hf.MistralConfig(**GROUPED),
    "mistral, sliding window": hf.MistralConfig(**GROUPED, sliding_window=4),
    "qwen2": hf.Qwen2Config(**GROUPED),
    "qwen2, sliding window": hf.Qwen2Config(**GROUPED, use_sliding_window=True, sliding_window=4, max_window_layers=1),
    "qwen3": hf.Qwen3Config(**GROUPED),
    "qwen3, wide heads": hf.Qwen3Config(**GROUPED | {"head_dim": 24}),
}


def test_every_type_that_ours_stands_in_for_is_compared() -> None:
    assert {config.model_type for config in CONFIGS.values()} == kernels.VERIFIED_MODELS


def new_model(config: hf.PretrainedConfig) -> Any:
    kernels.register_attention()
    torch.manual_seed(0)
    kind = hf.AutoModel if config.model_type == "bert" else hf.AutoModelForCausalLM
    return kind.from_config(config).eval()  # type: ignore[no-untyped-call]


def read(model: Any, attention: str, ids: torch.Tensor, mask: torch.Tensor) -> Tensors:
    """Outputs at the places that are no padding, and the gradients of all weights."""
    model.set_attn_implementation(attention)
    model.zero_grad()
    output = model(input_ids=ids, attention_mask=mask)
    places = output["logits" if "logits" in output else "last_hidden_state"][mask.bool()]
    (places * draw(*places.shape, seed=3)).mean().backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return {"output": places.detach(), **gradients}


@pytest.mark.parametrize("lengths", [(12, 12), (12, 7, 1)], ids=["full rows", "padded rows"])
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_our_attention_is_the_plain_one(config: hf.PretrainedConfig, lengths: tuple[int, ...]) -> None:
    model = new_model(config)
    ids = torch.randint(96, (len(lengths), 12), generator=torch.Generator().manual_seed(4))
    mask = torch.tensor([[1] * length + [0] * (12 - length) for length in lengths])
    ours, theirs = (read(model, attention, ids, mask) for attention in (kernels.ATTENTION, "eager"))
    # Logits are up to ten or so: 1e-5 of that, and of the gradients, is some roundings of float32.
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", [CONFIGS["llama"], CONFIGS["mistral, sliding window"]], ids=["llama", "mistral"])
def test_token_by_token_our_attention_gives_what_it_gives_at_once(config: hf.PretrainedConfig) -> None:
    model = new_model(config)
    model.set_attn_implementation(kernels.ATTENTION)
    ids = torch.randint(96, (2, 10), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        at_once = model(input_ids=ids).logits
        cache, singly = None, []
        for place in range(ids.shape[1]):
            output = model(input_ids=ids[:, place : place + 1], past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            singly.append(output.logits)
    torch.testing.assert_close(torch.cat(singly, dim=1), at_once, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_our_attention_is_torchs(key_heads: int, scaling: float | None) -> None:
    query, key, value = draw(2, 4, 5, 8), draw(2, key_heads, 7, 8, seed=1), draw(2, key_heads, 7, 8, seed=2)
    sees = torch.ones(5, 7, dtype=torch.bool).tril(diagonal=2)
    added = torch.zeros(5, 7).masked_fill(~sees, -torch.inf)
    theirs = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=sees, scale=scaling, enable_gqa=key_heads != 4
    )
    for mask in (sees, added):
        ours, weights = kernels.attention(None, query, key, value, mask.expand(2, 1, 5, 7), scaling)
        torch.testing.assert_close(ours, theirs.transpose(1, 2), rtol=1e-5, atol=1e-6)
        assert weights is None


def test_without_a_mask_all_is_seen() -> None:
    query, key, value = (draw(2, 4, 5, 8, seed=seed) for seed in range(3))
    ours, _ = kernels.attention(None, query, key, value, None)
    theirs = functional.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(ours, theirs.transpose(1, 2), rtol=1e-5, atol=1e-6)


def test_in_bfloat16_the_softmax_is_taken_in_float32() -> None:
    query, key, value = (draw(1, 1, 4, 8, seed=seed).bfloat16() for seed in range(3))
    ours, _ = kernels.attention(None, query, key, value, None)
    theirs = functional.scaled_dot_product_attention(query.float(), key.float(), value.float())
    assert ours.dtype == torch.bfloat16
    # Scores, weights and outputs are each rounded to eight binary digits.
    torch.testing.assert_close(ours.float(), theirs.transpose(1, 2), rtol=2**-6, atol=2**-6)
