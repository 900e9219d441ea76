from __future__ import annotations

import pytest
import torch

from ftdemo.training.hardware import Race, cpu_name, describe, dtype_race, peak_memory, reset_peak_memory

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("float32", "bfloat16", "winner"), [(100, 250, "bfloat16"), (100, 110, "float32"), (100, 20, "float32")]
)
def test_bfloat16_must_win_clearly(float32: float, bfloat16: float, winner: str) -> None:
    assert Race(float32, bfloat16).winner == winner


def test_the_race_is_measured_once() -> None:
    assert dtype_race("cpu") is dtype_race("cpu")
    assert min(dtype_race("cpu").float32, dtype_race("cpu").bfloat16) > 0


def test_peak_memory_sees_what_is_held_for_a_moment() -> None:
    reset_peak_memory(CPU)
    before = peak_memory(CPU)
    block = torch.ones(100_000_000)  # 400 MB
    del block
    assert peak_memory(CPU) - before > 300e6


def test_a_run_can_name_its_machine() -> None:
    machine = describe(CPU)
    assert machine["device"] == "cpu"
    assert machine["device_name"] == cpu_name() != ""
    assert machine["cores"] >= 1
    assert machine["race_gflops"].keys() == {"float32", "bfloat16"}
