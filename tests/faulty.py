"""A record of runs with planted faults, in the form in which `ftdemo record` writes it; nothing is trained for it."""

from __future__ import annotations

from typing import Any

from ftdemo.experiments.fault_spec import FaultCase, FaultSpec, FaultyRun

SCORES = {"stopped": 1.0, "exact_match": 0.9, "valid_json": 1.0, "fields": 0.95, "all_fields": 0.9}


def fault_record(spec: FaultSpec) -> dict[str, Any]:
    """A record of all runs of a collection, with made-up numbers and answers."""
    return {
        "version": 1,
        "experiment": "find-the-fault",
        "created": "2026-11-28T12:00:00+00:00",
        "seconds": 500.0,
        "numerics": spec.numerics.model_dump(mode="json"),
        "hardware": {"cores": 2, "device_name": "a test"},
        "runs": {name: _recorded(spec, run) for name, run in spec.runs().items()},
    }


def _recorded(spec: FaultSpec, run: FaultyRun) -> dict[str, Any]:
    joined, asked_twice = run.rows == "joined", run.asks != "as trained" or run.rows in ("leaked", "wrong column")
    recipe = spec.recipe_of(run, "data")
    heldout = [[step, round(0.4 + 1.8 * 0.96**step, 3)] for step in range(0, 100, 10)]
    numbers = {
        **{"examples": 160, "heldout_examples": 20, "steps": 96, "passes": recipe.epochs, "cut": 0, "dropped": 0},
        **{"tokens_per_example": 620.0 if joined else 69.4, "longest_example": 111, "trained_per_example": 30.5},
        **{"lr": recipe.lr or 0.0, "usual_lr": 0.006, "changed": 1.0},
        **{"loss_first": 2.2, "loss_last": 0.3, "loss_highest": 2.4},
        **{"heldout_before": 2.2, "heldout_after": 0.43, "heldout_lowest": 0.41},
        **({} if joined else {f"score_{name}": value for name, value in SCORES.items()}),
        **({f"use_{name}": value / 3 for name, value in SCORES.items()} if asked_twice else {}),
        **({"fixed_heldout_after": 0.9} if run.code == "weights in bfloat16" else {}),
    }
    wheres = [*([] if joined else ["held-out"]), *(["in use"] if asked_twice else [])]
    return {
        "numbers": numbers,
        "curve": [[step, round(0.3 + 1.9 * 0.95**step + 0.2 * (step % 3), 3)] for step in range(1, 97, 2)],
        "heldout": heldout,
        "recipe": recipe.model_dump(mode="json", exclude={"data"}),
        "columns": {"prompt": "prompt", "completion": "completion"},
        "excerpt": {"train": ['{"prompt": "Where is my <b>lamp</b>?", "completion": "{\\"order\\": null}"}'] * 5},
        "asks": run.asks,
        "used_model": run.base or recipe.model,
        "samples": [_sample(where, place) for where in wheres for place in range(3)],
        "told": ["240 examples, the same as an earlier one"] if isinstance(run, FaultCase) and run.command else [],
        "symptoms": [],
        "seconds": 30.0,
    }


def _sample(where: str, place: int) -> dict[str, Any]:
    return {
        "where": where,
        "prompt": f"Where is my <b>lamp</b>? Order {place}",
        "text": '{"category": "delivery", "order": null, "wants": <i>',
        "reference": '{"category": "delivery", "order": "37298", "wants": "information"}',
        "stopped": place > 0,
    }
