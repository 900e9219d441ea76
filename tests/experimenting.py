"""Writes experiments of a test's own, and carries them out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ftdemo.experiments import runner
from ftdemo.experiments.spec import SPEC, Experiment


def write_experiment(spec: Mapping[str, Any], folder: Path, **changes: Any) -> Experiment:
    """An experiment in a new folder, with changes to the first level of its specification."""
    folder.mkdir(parents=True)
    (folder / SPEC).write_text(yaml.safe_dump({**spec, **changes}, sort_keys=False), encoding="utf-8")
    return Experiment(folder)


def record_of(found: Experiment, folder: Path, *, quick: bool = False) -> dict[str, Any]:
    """The record of an experiment that is carried out now."""
    *_, last = runner.run_experiment(found, quick=quick, folder=folder)
    assert isinstance(last, dict)
    return last
