"""What an experiment measures of a run besides its own scores: old skill, the update's spectrum, trials with intervals.

A measurement takes a finished run and gives plain values, by name, for the experiment's record.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ftdemo.data import load_splits
from ftdemo.evaluation.evaluate import answer_and_score, bootstrap, estimates, old_skill, ratio
from ftdemo.evaluation.generate import answer_rows
from ftdemo.models import load as models
from ftdemo.models.layers import adapted_layers
from ftdemo.runs.run import Run

Memo = dict[Any, Any]
"""What was measured of a base, so that it is measured once for all runs on it."""
_VALUES_KEPT = 48
_RANKS = (1, 2, 4, 8, 16, 32)


def measure_run(names: tuple[str, ...], run: Run, memory: Memo) -> dict[str, Any]:
    """The named measurements of a run."""
    return {name: MEASURES[name](run, memory) for name in names}


def skill_kept(run: Run, memory: Memo) -> dict[str, Any]:
    """The old skill before and after training, and by which factor its loss rose; nothing of what began at random."""
    base = run.load_base()
    if base is None:
        return {}
    model, tokenizer = run.load_model()
    after = old_skill(model, tokenizer, run.corpus)
    key = ("old skill", run.record["model"]["sha256"])
    if key not in memory:
        memory[key] = old_skill(*base, run.corpus)
    before = memory[key]
    return {
        "before": {name: round(estimate.value, 5) for name, estimate in before.items()},
        "after": {name: round(estimate.value, 5) for name, estimate in after.items()},
        "loss_factor": round(after["loss"].value / before["loss"].value, 5),
        "accuracy_change": round(after["accuracy"].value - before["accuracy"].value, 5),
    }


def trials(run: Run, _memory: Memo) -> dict[str, Any]:
    """All scores of a model that goes on with texts, each with its interval; and how much more names drift than in
    the data: who is named once only, as a share of the same in the corpus's own texts."""
    import numpy

    model, tokenizer = run.load_model()
    data = run.recipe.data
    prompts = load_splits(data, seed=run.recipe.seed, examples=1).trials
    answers = answer_rows(model, tokenizer, prompts)
    found = {name: asdict(estimate) for name, estimate in estimates(answers, prompts, data).items()}
    scores = [trial.score(answer.text) for trial, answer in zip(prompts, answers, strict=True)]
    pairs = [(score["named_once"], score["named_once_in_data"]) for score in scores if "named_once" in score]
    return found | {"name_drift": asdict(bootstrap(numpy.array(pairs), ratio))}


def spectrum(run: Run, _memory: Memo) -> dict[str, Any]:
    """The singular values of what training added to each matrix, averaged over the matrices that are alike.

    Returns:
        Of each kind of matrix its first singular values as shares of the largest, and which share of the update's
        squared norm its best approximation of rank 1, 2, 4 and so on holds (Eckart & Young 1936). Nothing where
        training began at random.
    """
    import torch

    base = run.load_base()
    if base is None:
        return {}
    kinds: dict[str, list[torch.Tensor]] = {}
    for name, values in _singular_values(run, base[0]).items():
        kinds.setdefault(name.split(".")[-1], []).append(values)
    found: dict[str, Any] = {}
    for kind, values in kinds.items():
        mean = torch.stack([value / value[0] for value in values]).mean(0)
        energy = torch.stack([value.square().cumsum(0) / value.square().sum() for value in values]).mean(0)
        found[kind] = {
            "values": [round(float(value), 4) for value in mean[:_VALUES_KEPT]],
            "share_at_rank": {str(rank): round(float(energy[rank - 1]), 4) for rank in _RANKS if rank <= len(energy)},
        }
    every = [found[kind]["share_at_rank"]["8"] for kind in found]
    return {"matrices": found, "share_at_rank_8": round(sum(every) / len(every), 4)}


def evaluate_on_other_base(run: Run, base: Path) -> dict[str, Any]:
    """The scores of an adapter on another base than its own, and of that base alone."""
    import torch
    from peft import PeftModel

    source = models.resolve(str(base))
    tokenizer = models.load_tokenizer(source)
    model = PeftModel.from_pretrained(models.load_causal_lm(source, torch.float32), run.folder)
    recipe = run.recipe
    rows = load_splits(recipe.data, seed=recipe.seed, examples=1).prompts[: recipe.sample_prompts]
    settings: dict[str, Any] = {"data": recipe.data, "answer_tokens": recipe.answer_tokens}
    after = answer_and_score(model, tokenizer, rows, **settings)
    with model.disable_adapter():
        before = answer_and_score(model, tokenizer, rows, **settings)
    return {"scores": {"before": before.scores, "after": after.scores}}


def _singular_values(run: Run, base: Any) -> dict[str, Any]:
    """The singular values of what training added to each matrix, largest first.

    That is s B A where an adapter was trained, else the difference of the weights. Those of a product of thin matrices
    are those of the small product of their triangular factors, and zeros.
    """
    import torch

    model, _ = run.load_model()
    found = {}
    if run.recipe.is_low_rank:
        names = {id(layer): name for name, layer in model.named_modules()}
        for layer in adapted_layers(model):
            down, up = (part["default"].weight.detach().float() for part in (layer.lora_A, layer.lora_B))
            thin = torch.linalg.svdvals(torch.linalg.qr(up)[1] @ torch.linalg.qr(down.T)[1].T)
            zeros = torch.zeros(min(len(up), down.shape[1]) - len(thin))
            found[names[id(layer)]] = torch.cat([layer.scaling["default"] * thin, zeros])
        return found
    before = dict(base.named_parameters())
    for name, weight in model.named_parameters():
        if weight.dim() == 2 and "proj" in name:
            found[name.removesuffix(".weight")] = torch.linalg.svdvals((weight - before[name]).detach().float())
    return found


MEASURES: dict[str, Callable[[Run, Memo], dict[str, Any]]] = {
    "old_skill": skill_kept,
    "trials": trials,
    "spectrum": spectrum,
}
