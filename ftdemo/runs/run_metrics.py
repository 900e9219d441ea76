"""What an experiment measures of a run besides its own scores: old skill, the update's spectrum, trials with intervals.

A measurement takes a finished run and gives plain values, by name, for the experiment's record, and the outcome of each
question behind them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ftdemo.data import AnyPrompt, AnyRow, load_splits
from ftdemo.data.tokenize import encode_all
from ftdemo.evaluation.evaluate import (
    answer_and_score,
    bootstrap,
    estimates,
    old_skill_rows,
    ratio,
    row_losses,
    skill_estimates,
)
from ftdemo.evaluation.generate import answer_rows
from ftdemo.evaluation.outcomes import Outcomes, score_outcomes
from ftdemo.events import Sampled
from ftdemo.models import load as models
from ftdemo.models.layers import adapted_layers
from ftdemo.runs.run import Run
from ftdemo.training.prepare import evaluated_rows

Memo = dict[Any, Any]
"""What was measured of a base, so that it is measured once for all runs on it; and the model that was loaded last."""
Metrics = tuple[dict[str, Any], dict[str, Outcomes]]
"""Measured values, and behind some of them the outcome of each question, by the value's path."""
_VALUES_KEPT = 48
_RANKS = (1, 2, 4, 8, 16, 32)
_LOADED = "loaded model"


def measure_run(names: tuple[str, ...], run: Run, memory: Memo) -> Metrics:
    """The named measurements of a run."""
    values: dict[str, Any] = {}
    outcomes: dict[str, Outcomes] = {}
    for name in names:
        values[name], found = MEASURES[name](run, memory)
        outcomes |= {f"{name}.{path}": one for path, one in found.items()}
    return values, outcomes


def forget_model(memory: Memo) -> None:
    """Let go of the model that was loaded last, before the next run needs its memory."""
    memory.pop(_LOADED, None)


def _load_once(run: Run, memory: Memo, base: str | None = None) -> tuple[Any, Any]:
    """A run's model and tokenizer, loaded once for all that is measured of it."""
    key = (run.folder, base)
    if memory.get(_LOADED, (None,))[0] != key:
        forget_model(memory)
        memory[_LOADED] = (key, run.load_model(base))
    loaded: tuple[Any, Any] = memory[_LOADED][1]
    return loaded


def run_outcomes(run: Run, memory: Memo) -> dict[str, Outcomes]:
    """How each held-out question and row came out before and after a run's training, by the path of its number."""
    recipe = run.recipe
    splits = load_splits(recipe.data, seed=recipe.seed, examples=1)
    found = _sample_outcomes(run.samples(), splits.prompts, recipe.data)
    if rows := evaluated_rows(splits, recipe):
        found["heldout_loss.after"] = _loss_outcomes(run, *_load_once(run, memory), rows)
        key = ("held-out loss", run.record["model"]["sha256"], found["heldout_loss.after"].on)
        if key not in memory and (base := run.load_base()):
            memory[key] = _loss_outcomes(run, *base, rows)
        if key in memory:
            found["heldout_loss.before"] = memory[key]
    return found


def _sample_outcomes(
    samples: tuple[Sampled | None, Sampled | None], prompts: Sequence[AnyPrompt], data: str
) -> dict[str, Outcomes]:
    """How each of the first prompts was answered before and after training."""
    return {
        f"scores.{when}.{name}": one
        for when, sample in zip(("before", "after"), samples, strict=True)
        if sample
        for name, one in score_outcomes(sample.answers, prompts[: len(sample.answers)], data).items()
    }


def _loss_outcomes(run: Run, model: Any, tokenizer: Any, rows: Sequence[AnyRow]) -> Outcomes:
    recipe = run.recipe
    encoded = encode_all(rows, tokenizer, train_on=recipe.train_on, max_length=recipe.max_length, labels=run.labels)
    losses = row_losses(model, tokenizer, encoded)
    return Outcomes.of_losses([*rows, recipe.train_on, recipe.max_length], losses)


def skill_kept(run: Run, memory: Memo, base: str | None = None) -> dict[str, Any]:
    """The old skill before and after training, and by which factor its loss rose; nothing of what began at random.

    Args:
        run: The run.
        memory: What was measured of bases before.
        base: Where to take the base from, if not from where the run found it.
    """
    values, _ = _skill_kept(run, memory, base)
    forget_model(memory)
    return values


def _skill_kept(run: Run, memory: Memo, base: str | None = None) -> Metrics:
    if not run.has_base:
        return {}, {}
    key = ("old skill", run.record["model"]["sha256"])
    if key not in memory and (loaded := run.load_base(base)):
        memory[key] = old_skill_rows(*loaded, run.corpus)
    rows = {"after": old_skill_rows(*_load_once(run, memory, base), run.corpus)}
    rows["before"] = memory[key]
    found = {when: skill_estimates(*rows[when]) for when in ("before", "after")}
    outcomes = {}
    for when, (losses, correct) in rows.items():
        outcomes[f"{when}.loss"] = Outcomes.of_losses([run.corpus, "texts"], losses)
        outcomes[f"{when}.accuracy"] = Outcomes.of([run.corpus, "questions"], correct)
    values: dict[str, Any] = {
        when: {name: round(estimate.value, 5) for name, estimate in estimates.items()}
        for when, estimates in found.items()
    }
    before, after = found["before"], found["after"]
    values["loss_factor"] = round(after["loss"].value / before["loss"].value, 5)
    values["accuracy_change"] = round(after["accuracy"].value - before["accuracy"].value, 5)
    return values, outcomes


def trials(run: Run, memory: Memo) -> Metrics:
    """All scores of a model that continues texts, each with its interval; and how much more names drift than in
    the data: who is named once only, as a share of the same in the corpus's own texts."""
    import numpy

    model, tokenizer = _load_once(run, memory)
    data = run.recipe.data
    prompts = load_splits(data, seed=run.recipe.seed, examples=1).trials
    answers = answer_rows(model, tokenizer, prompts)
    found = {name: asdict(estimate) for name, estimate in estimates(answers, prompts, data).items()}
    scores = [trial.score(answer.text) for trial, answer in zip(prompts, answers, strict=True)]
    # Half a story is added on both sides: in a draw of stories, nobody may be named once only.
    pairs = [(score["named_once"], score["named_once_in_data"]) for score in scores if "named_once" in score]
    drift = bootstrap(numpy.array(pairs), lambda sample: ratio(numpy.vstack([sample, [0.5, 0.5]])))
    return found | {"name_drift": asdict(drift)}, {}


def spectrum(run: Run, memory: Memo) -> Metrics:
    """The singular values of what training added to each matrix, averaged over the matrices that are alike.

    Returns:
        Of each kind of matrix its first singular values as shares of the largest, and which share of the update's
        squared norm its best approximation of rank 1, 2, 4 and so on holds (Eckart & Young 1936). Nothing where
        training began at random.
    """
    import torch

    base = run.load_base()
    if base is None:
        return {}, {}
    kinds: dict[str, list[torch.Tensor]] = {}
    for name, values in _singular_values(run, _load_once(run, memory)[0], base[0]).items():
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
    return {"matrices": found, "share_at_rank_8": round(sum(every) / len(every), 4)}, {}


def evaluate_on_other_base(run: Run, base: Path) -> Metrics:
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
    outcomes = _sample_outcomes((before, after), rows, recipe.data)
    return {"scores": {"before": before.scores, "after": after.scores}}, outcomes


def _singular_values(run: Run, model: Any, base: Any) -> dict[str, Any]:
    """The singular values of what training added to each matrix, largest first.

    That is s B A where an adapter was trained, else the difference of the weights. Those of a product of thin matrices
    are those of the small product of their triangular factors, and zeros.
    """
    import torch

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


MEASURES: dict[str, Callable[[Run, Memo], Metrics]] = {
    "old_skill": _skill_kept,
    "trials": trials,
    "spectrum": spectrum,
}
