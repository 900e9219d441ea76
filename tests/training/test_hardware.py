from __future__ import annotations

import pytest
import torch

from ftdemo.training import hardware
from ftdemo.training.hardware import cpu_name, describe, dtype_race, peak_memory, pick_dtype, reset_peak_memory

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "dtype", "because"),
    [
        ({"avx2", "avx512f", "amx_bf16", "avx512_bf16"}, torch.bfloat16, "AMX"),
        ({"avx2", "avx512f", "avx512_bf16"}, torch.bfloat16, "AVX512-BF16"),
        ({"asimd", "bf16"}, torch.bfloat16, "ARM's BF16"),
        ({"avx2", "avx512f"}, torch.float32, "no instructions that multiply bfloat16"),
    ],
)
def test_the_number_format_follows_from_what_the_processor_can_do(
    flags: set[str], dtype: torch.dtype, because: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset(flags))
    picked = pick_dtype("auto", CPU)
    assert picked.dtype == dtype
    assert because in picked.reason


def test_no_trial_decides_the_number_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "dtype_race", lambda device: pytest.fail("a loaded machine would decide it"))
    assert pick_dtype("auto", CPU) == pick_dtype("auto", CPU)


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_a_number_format_in_the_recipe_is_taken(wanted: str) -> None:
    picked = pick_dtype(wanted, CPU)
    assert (picked.name, picked.reason) == (wanted, "set in the recipe")


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
