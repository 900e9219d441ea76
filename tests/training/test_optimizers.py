"""Muon beside AdamW: the numbers of PyTorch's own two optimizers, each on its share of the weights."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from conftest import TINY, steps

from ftdemo.errors import RecipeError
from ftdemo.recipe import Recipe
from ftdemo.training.loop import train
from ftdemo.training.optimizers import MuonAndAdamW
from ftdemo.training.prepare import prepare

MUON = TINY.with_settings({"optimizer": "muon", "weight_decay": 0.1})


def _weights() -> dict[str, torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"square": (16, 16), "tall": (24, 8), "flat": (8, 24), "norm": (16,)}
    return {name: torch.nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}


def _groups(weights: dict[str, torch.nn.Parameter]) -> list[dict[str, Any]]:
    matrices = [weight for weight in weights.values() if weight.dim() == 2]
    return [
        {"params": matrices, "weight_decay": 0.1, "muon": True},
        {"params": [weights["norm"]], "weight_decay": 0.0, "muon": False},
    ]


def _descend(weights: dict[str, torch.nn.Parameter], optimizers: list[torch.optim.Optimizer]) -> None:
    for turn in range(5):
        for weight in weights.values():
            weight.grad = torch.sin(weight.detach() * (turn + 1))
        for optimizer in optimizers:
            optimizer.step()


def test_both_together_take_the_steps_that_pytorchs_muon_and_adamw_take_apart() -> None:
    ours, theirs = _weights(), _weights()
    muon, adamw = _groups(theirs)
    apart = [
        torch.optim.Muon(muon["params"], lr=1e-2, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(adamw["params"], lr=1e-2, weight_decay=0.0),
    ]
    _descend(ours, [MuonAndAdamW(_groups(ours), lr=1e-2)])
    _descend(theirs, apart)
    for name, weight in ours.items():
        assert torch.allclose(weight, theirs[name], atol=1e-7), name


def test_it_goes_on_with_the_state_that_was_given_to_it() -> None:
    weights = _weights()
    first = MuonAndAdamW(_groups(weights), lr=1e-2)
    _descend(weights, [first])
    again = {name: torch.nn.Parameter(weight.detach().clone()) for name, weight in weights.items()}
    second = MuonAndAdamW(_groups(again), lr=1e-2)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    _descend(weights, [first])
    _descend(again, [second])
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())


def test_muon_has_the_hidden_matrices_and_adamw_the_rest() -> None:
    learner = prepare(MUON)
    names = {id(weight): name for name, weight in learner.trainable.items()}
    by_muon, by_adamw = (
        {
            names[id(weight)]
            for group in learner.optimizer.param_groups
            if group["muon"] == kind
            for weight in group["params"]
        }
        for kind in (True, False)
    )
    assert by_muon | by_adamw == set(names.values())
    assert all("proj.weight" in name for name in by_muon)
    assert {name for name in by_adamw if "norm" not in name and "bias" not in name} == {"model.embed_tokens.weight"}


def test_in_as_many_steps_muon_gets_further_than_adamw() -> None:
    """Muon's claim, on our text: the margin was 0.5 nats with seeds 0 to 2."""
    settings = {"max_steps": 60, "epochs": 100, "lr": 1e-2, "warmup": 0.1, "eval_every": None}
    losses = {
        optimizer: steps(list(train(TINY.with_settings({"optimizer": optimizer, **settings}))))[-1].loss
        for optimizer in ("adamw", "muon")
    }
    assert losses["muon"] < losses["adamw"] - 0.2


@pytest.mark.parametrize("method", ["lora", "dora", "probe", "classify"])
def test_methods_that_do_not_train_all_weights_of_a_language_model_refuse_muon(method: str) -> None:
    with pytest.raises(RecipeError, match=f"`optimizer` is muon, but `method` is {method}"):
        Recipe(method=method, optimizer="muon")


def test_the_same_recipe_gives_the_same_weights_bit_for_bit() -> None:
    def trained() -> dict[str, torch.Tensor]:
        learner = prepare(MUON)
        list(train(MUON, learner))
        return {name: weight.detach() for name, weight in learner.trainable.items()}

    first, again = trained(), trained()
    assert all(torch.equal(again[name], weight) for name, weight in first.items())
