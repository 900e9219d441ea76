"""Experiments as data: what is asked for, how a claim is decided, and what is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from experimenting import write_experiment

from ftdemo.errors import RecipeError
from ftdemo.experiments.spec import (
    Claim,
    Decision,
    Experiment,
    Spec,
    as_record,
    claim_in_words,
    decide,
    find_experiments,
)

EXPERIMENTS = Path(__file__).parents[2] / "docs" / "experiments"
SPEC: dict[str, Any] = {
    "title": "Two arms",
    "question": "Which is better?",
    "recipe": {"model": "smollm2", "examples": 8},
    "arms": {"low": {"set": {"rank": 1}}, "high": {"set": {"rank": 64}}},
    "quick": {"set": {"max_steps": 2}, "arms": ["low"]},
    "claims": [
        {"id": "good", "says": "Good.", "value": "low:scores.after.format", "at_least": 0.5, "quick": True},
        {"id": "better", "says": "Better.", "value": "high:loss", "minus": "low:loss", "at_most": 0},
        {"id": "twice", "says": "Twice.", "value": "high:loss", "over": "low:loss", "at_least": 2},
    ],
}


def runs(low: list[float], high: list[float]) -> dict[str, Any]:
    """Records of runs with these losses, one a seed."""
    return {
        f"{arm}/{seed}": {"arm": arm, "seed": seed, "loss": loss, "scores": {"after": {"format": loss}}}
        for arm, losses in (("low", low), ("high", high))
        for seed, loss in enumerate(losses)
    }


def claim(**settings: Any) -> Claim:
    return Claim(id="one", says="So it is.", value="low:loss", **settings)


def decided(bound: Claim, low: list[float], high: list[float] | None = None) -> Decision:
    spec = Spec(**{**SPEC, "claims": [bound.model_dump(exclude_none=True)]})
    return decide(spec, runs(low, high or low))[0]


write_spec = partial(write_experiment, SPEC)


def test_an_arms_recipe_is_the_common_one_with_its_own_settings_and_the_seed() -> None:
    spec = Spec(**SPEC)
    recipe = spec.recipe_of("high", 2, quick=False)
    assert (recipe.rank, recipe.seed, recipe.examples, recipe.max_steps) == (64, 2, 8, None)
    assert spec.recipe_of("high", 2, quick=True).max_steps == 2


def test_what_a_machine_would_choose_is_fixed_and_an_arm_may_fix_it_otherwise() -> None:
    spec = Spec(**{**SPEC, "arms": {"low": {}, "high": {"set": {"dtype": "bfloat16"}}}})
    low, high = (spec.recipe_of(arm, 0, quick=False) for arm in ("low", "high"))
    assert (low.device, low.dtype, low.attention) == ("cpu", "float32", "ftdemo")
    assert high.dtype == "bfloat16"
    assert spec.numerics.threads == 2


def test_a_swept_arm_has_the_rate_that_was_chosen_and_without_a_sweep_the_middle_one() -> None:
    arms = {"low": {"rates": [0.001, 0.003, 0.01]}, "high": {"rate_of": "low", "set": {"rank": 64}}}
    spec = Spec(**{**SPEC, "arms": arms})
    assert [spec.recipe_of(arm, 0, quick=True).lr for arm in arms] == [0.003, 0.003]
    assert [spec.recipe_of(arm, 0, quick=False, lr=0.01).lr for arm in arms] == [0.01, 0.01]


@pytest.mark.parametrize(
    ("values", "verdict"),
    [([0.90, 0.91, 0.92], "confirmed"), ([0.1, 0.11, 0.12], "refuted"), ([0.4, 0.6, 0.8], "inconclusive")],
)
def test_a_claim_is_decided_by_its_whole_interval(values: list[float], verdict: str) -> None:
    found = decided(claim(at_least=0.5), values)
    assert found.verdict == verdict
    assert found.statistic == "three runs"


def test_a_difference_is_taken_seed_by_seed() -> None:
    # The seeds differ by far more than the arms do.
    found = decided(claim(minus="high:loss", at_least=0.05), [1.1, 2.1, 3.1], [1.0, 2.0, 3.0])
    assert found.value == pytest.approx(0.1)
    assert found.verdict == "confirmed"


def test_a_ratio_is_taken_seed_by_seed() -> None:
    found = decided(claim(over="high:loss", at_least=1.5, at_most=2.5), [2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert found.value == pytest.approx(2)
    assert found.bound == "at least 1.5 and at most 2.5"
    assert found.verdict == "confirmed"


def test_an_estimate_of_one_run_brings_its_own_interval() -> None:
    estimate = {"value": 0.8, "low": 0.65, "high": 0.9, "rows": 100}
    records = {"low/0": {"arm": "low", "seed": 0, "loss": estimate}}
    spec = Spec(**{**SPEC, "claims": [claim(at_least=0.7).model_dump(exclude_none=True)]})
    (found,) = decide(spec, records)
    assert (found.value, found.low, found.high) == (0.8, 0.65, 0.9)
    assert (found.verdict, found.statistic) == ("inconclusive", "100 questions resampled")


def test_the_quick_form_decides_its_own_claims_only_and_the_whole_one_all_others() -> None:
    spec = Spec(**SPEC)
    assert [found.id for found in decide(spec, runs([0.6], [0.6]), quick=True)] == ["good"]
    assert [found.id for found in decide(spec, runs([0.6], [0.6]))] == ["better", "twice"]


def test_recorded_outcomes_are_plain_and_short() -> None:
    (recorded,) = as_record([decided(claim(at_least=0.5), [1 / 3, 2 / 3, 0.1])])
    assert recorded["value"] == 0.36667
    assert set(recorded) == {"id", "says", "value", "low", "high", "runs", "bound", "statistic", "verdict"}
    assert recorded["runs"] == [0.33333, 0.66667, 0.1]


def test_what_was_measured_is_said_with_what_it_counts() -> None:
    three = {"value": 0.9, "low": 0.8, "high": 1.2, "runs": [0.85, 0.9, 0.95], "statistic": "three runs"}
    assert claim_in_words(three) == "three runs: 0.85, 0.9, 0.95"
    asked = {"value": 0.77, "low": 0.68, "high": 0.84, "runs": [], "statistic": "100 questions resampled"}
    assert claim_in_words(asked) == "0.77 (0.68 to 0.84), 100 questions resampled"
    single = {"value": 2.5, "low": 2.5, "high": 2.5, "runs": [], "statistic": "one run"}
    assert claim_in_words(single) == "2.5 (one run)"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"arms": {"low": {"set": {}}}}, "there is no arm `high`"),
        ({"shown": "middle"}, "there is no arm `middle`"),
        ({"title": None}, "`title`"),
        ({"aim": "fame"}, "`aim`"),
        ({"arms": {"low": {"setting": {}}, "high": {}}}, "`arms.low.setting`"),
        ({"arms": {"low": {"start": "base"}, "high": {}}}, "there is no arm `base`"),
        ({"arms": {"low": {"start": "high"}, "high": {}}}, "Write `high` before `low`|`low` needs `high`"),
        ({"arms": {"low": {"rates": [0.1]}, "high": {}}}, "`arms.low.rates`.*two rates or more"),
        ({"arms": {"low": {"rates": [0.1, 0.01]}, "high": {}}}, "`arms.low.rates`.*ascending"),
        ({"arms": {"low": {}, "high": {"rate_of": "low"}}}, "`low`, which has no `rates`"),
        ({"arms": {"low": {"rates": [0.1, 0.2], "set": {"lr": 1}}, "high": {}}}, "`set.lr` decides its learning rate"),
        ({"arms": {"low": {"rates": [0.1, 0.2], "baseline": "tfidf"}, "high": {}}}, "trains nothing by a recipe"),
        ({"sweep": {"seed": 2}}, "the seed of `sweep` is one of `seeds`"),
        ({"numerics": {"dtype": "auto"}}, "`numerics.dtype`"),
    ],
)
def test_what_is_wrong_with_an_experiment_is_said(changes: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=problem):
        _ = write_spec(tmp_path / "one", **changes).spec


def test_a_file_that_is_no_experiment_is_named(tmp_path: Path) -> None:
    (tmp_path / "experiment.yaml").write_text("- one\n- two\n", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"experiment\.yaml"):
        _ = Experiment(tmp_path).spec


def test_experiments_are_found_by_their_folders(tmp_path: Path) -> None:
    write_spec(tmp_path / "b")
    write_spec(tmp_path / "a")
    (tmp_path / "notes").mkdir()
    assert list(find_experiments(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("name", list(find_experiments(EXPERIMENTS)))
def test_every_experiment_of_the_site_can_be_carried_out_as_it_is_written(name: str) -> None:
    """Every recipe of every arm is valid, whole and quick, and every claim has a bound."""
    spec = find_experiments(EXPERIMENTS)[name].spec
    for arm in spec.arms:
        for quick in (False, True):
            spec.recipe_of(arm, spec.seeds[0], quick=quick)
    assert spec.claims
    assert all(found.bound for found in spec.claims)
    assert len(spec.seeds) >= 3 or spec.ships


@pytest.mark.parametrize("name", list(find_experiments(EXPERIMENTS)))
def test_every_recorded_verdict_follows_from_the_recorded_runs(name: str) -> None:
    found = find_experiments(EXPERIMENTS)[name]
    for file in ("record.json", "quick.json"):
        if record := found.record(file):
            assert as_record(decide(found.spec, record["runs"], quick=record["quick"])) == record["claims"], file


@pytest.mark.parametrize("plan", sorted(EXPERIMENTS.glob("*/planned.yaml")), ids=lambda plan: plan.parent.name)
def test_a_planned_experiment_can_be_carried_out(plan: Path, tmp_path: Path) -> None:
    """Its claims are stated before it runs, so the plan has to be one that the runner takes."""
    (tmp_path / "experiment.yaml").write_text(plan.read_text(encoding="utf-8"), encoding="utf-8")
    spec = Experiment(tmp_path).spec
    assert spec.claims
    arms = [name for name, arm in spec.arms.items() if arm.trains and not arm.start]
    assert all(spec.recipe_of(name, 0, quick=False).data for name in arms)
