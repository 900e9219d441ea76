"""The LoRA layer that readers see, against PEFT's layer and against the function that training computes with."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional

from ftdemo.models.kernels import use_fused_lora
from ftdemo.models.lora import LoRALinear

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Case:
    shape: tuple[int, ...]
    """Of the inputs; the last axis is d_in."""
    d_out: int
    rank: int
    alpha: float
    bias: bool = True

    def new_layer(self) -> LoRALinear:
        """A layer whose B is not zero, as after some steps of training."""
        torch.manual_seed(0)
        layer = LoRALinear(torch.nn.Linear(self.shape[-1], self.d_out, bias=self.bias), self.rank, self.alpha)
        torch.nn.init.normal_(layer.B)
        return layer

    def inputs(self) -> torch.Tensor:
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(1))

    def new_peft_layer(self, base: torch.nn.Linear) -> Any:
        config = LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=["0"])
        model: Any = get_peft_model(torch.nn.Sequential(copy.deepcopy(base)), config)
        return model.base_model.model[0]

    def as_peft(self, layer: LoRALinear) -> Any:
        """PEFT's layer with the same weights."""
        theirs = self.new_peft_layer(layer.base)
        theirs.lora_A.default.weight.data.copy_(layer.A.detach())
        theirs.lora_B.default.weight.data.copy_(layer.B.detach())
        return theirs

    def as_fused(self, layer: LoRALinear) -> Any:
        """PEFT's layer with the same weights, computing in one function as it does in training."""
        theirs = self.as_peft(layer)
        use_fused_lora(theirs)
        return theirs


CASES = {
    "one vector, no bias": Case((24,), 40, rank=4, alpha=16, bias=False),
    "rank 1": Case((5, 24), 12, rank=1, alpha=1),
    "batch of sequences": Case((2, 5, 24), 40, rank=8, alpha=16),
    "full rank, scale below 1": Case((3, 24), 12, rank=12, alpha=6),
    "odd sizes, large scale": Case((64, 24), 7, rank=3, alpha=32),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


others = pytest.mark.parametrize("convert", [Case.as_peft, Case.as_fused], ids=["PEFT", "fused kernel"])


def outputs_and_gradients(layer: Any, x: torch.Tensor) -> Tensors:
    leaf = x.clone().requires_grad_()
    output = layer(leaf)
    upstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(2))
    (output.float() * upstream).sum().backward()
    adapter = {name.removeprefix("lora_")[0]: weight.grad for name, weight in layer.named_parameters()}
    assert leaf.grad is not None
    return {"output": output.detach(), "x": leaf.grad, "A": adapter["A"], "B": adapter["B"]}


@others
def test_the_plain_layer_computes_what_training_computes(case: Case, convert: Any) -> None:
    layer, x = case.new_layer(), case.inputs()
    ours, theirs = outputs_and_gradients(layer, x), outputs_and_gradients(convert(case, layer), x)
    # The same products, summed in another order: a few float32 roundings (6e-8) of terms that reach a few hundred.
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@others
def test_over_bfloat16_weights_the_plain_layer_is_as_exact_as_the_others(case: Case, convert: Any) -> None:
    layer, x = case.new_layer(), case.inputs()
    layer.base.to(torch.bfloat16)  # A and B stay float32, as in training
    exact = copy.deepcopy(layer)
    exact.base.float()
    truth = outputs_and_gradients(exact, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, theirs = outputs_and_gradients(layer, x), outputs_and_gradients(convert(case, layer), x)
    assert ours["output"].dtype == theirs["output"].dtype == torch.bfloat16
    for name, right in truth.items():
        for found in (ours[name], theirs[name]):
            # On the way to each, bfloat16 rounds up to four times, by at most 2**-9 of the value.
            assert (found.float() - right).norm() <= 2**-7 * right.norm(), name


def test_at_the_start_the_layer_computes_exactly_what_its_base_computes(case: Case) -> None:
    base = torch.nn.Linear(case.shape[-1], case.d_out, bias=case.bias)
    assert torch.equal(LoRALinear(base, case.rank, case.alpha)(case.inputs()), base(case.inputs()))


def test_a_new_layer_starts_with_the_weights_that_pefts_starts_with(case: Case) -> None:
    base = torch.nn.Linear(case.shape[-1], case.d_out)
    theirs = case.new_peft_layer(base)
    torch.manual_seed(3)
    theirs.reset_lora_parameters("default", init_lora_weights=True)
    torch.manual_seed(3)
    layer = LoRALinear(base, case.rank, case.alpha)
    assert torch.equal(layer.A, theirs.lora_A.default.weight)
    assert torch.equal(layer.B, theirs.lora_B.default.weight)


def test_only_a_and_b_are_trained(case: Case) -> None:
    layer = case.new_layer()
    trained = {name: weight.shape for name, weight in layer.named_parameters() if weight.requires_grad}
    assert trained == {"A": (case.rank, case.shape[-1]), "B": (case.d_out, case.rank)}


def test_the_merged_weight_gives_the_same_output(case: Case) -> None:
    layer, x = case.new_layer(), case.inputs()
    merged = functional.linear(x, layer.merged_weight(), layer.base.bias)
    torch.testing.assert_close(merged, layer(x), rtol=1e-5, atol=1e-5)


def test_pefts_layer_merges_to_the_same_weight(case: Case) -> None:
    layer = case.new_layer()
    theirs = case.as_peft(layer)
    theirs.merge()
    torch.testing.assert_close(layer.merged_weight(), theirs.base_layer.weight, rtol=1e-6, atol=1e-6)
