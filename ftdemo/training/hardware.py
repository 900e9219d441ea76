"""What this machine is and what it is good at: device, number format, peak memory."""

from __future__ import annotations

import gc
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdemo.errors import ModelError

if TYPE_CHECKING:
    import torch

_RACE_ROWS, _RACE_IN, _RACE_OUT = 512, 576, 1536
"""The race multiplies 512 tokens by a matrix of SmolLM2's feed-forward layer."""
_RACE_SECONDS = 0.4


@dataclass(frozen=True)
class Race:
    """How fast this machine multiplies matrices in each number format, in 10^9 operations per second."""

    float32: float
    bfloat16: float


@dataclass(frozen=True)
class NumberFormat:
    """A number format for matrix products, and why it is this one."""

    dtype: torch.dtype
    reason: str

    @property
    def name(self) -> str:
        """The format's name, as recipes have it."""
        return str(self.dtype).removeprefix("torch.")


def pick_device(wanted: str) -> torch.device:
    """The device to train on: the one wanted, or CUDA, then Apple's MPS, then the CPU.

    Raises:
        ModelError: If the wanted device is not on this machine.
    """
    import torch

    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, there in found.items() if there))
    if not found[wanted]:
        there = ", ".join(name for name, present in found.items() if present)
        raise ModelError(f"`device` is {wanted}, which this machine does not have.", f"This machine has: {there}.")
    return torch.device(wanted)


def pick_dtype(wanted: str, device: torch.device) -> NumberFormat:
    """The number format of matrix products: the one wanted, or what the device has instructions for.

    The device's capabilities decide, not a trial: on a busy machine a trial measures the scheduler, and the same recipe
    on the same machine would give other numbers.

    Args:
        wanted: ``float32``, ``bfloat16`` or ``auto``.
        device: Where the products are computed.
    """
    import torch

    if wanted != "auto":
        return NumberFormat(getattr(torch, wanted), "set in the recipe")
    has_bfloat16, reason = _bfloat16_products(device)
    return NumberFormat(torch.bfloat16 if has_bfloat16 else torch.float32, reason)


def _bfloat16_products(device: torch.device) -> tuple[bool, str]:
    """Whether the device multiplies bfloat16 faster than float32, and by which of its capabilities."""
    import torch

    if device.type == "cuda":
        # Before compute capability 8.0, bfloat16 is emulated: is_bf16_supported() says yes, and it is slow.
        has = torch.cuda.get_device_capability(device) >= (8, 0)
        return has, f"the GPU has {'' if has else 'no '}bfloat16 tensor cores"
    if device.type == "mps":
        return False, "on MPS, float32 is the format that all operations have"
    # Without such instructions each product is converted to float32 and back, up to ten times slower than float32.
    found = [name for name, flags in _BFLOAT16_INSTRUCTIONS.items() if flags & cpu_flags()]
    if found:
        return True, f"the processor has {found[0]}, which multiplies bfloat16"
    return False, "the processor has no instructions that multiply bfloat16"


_BFLOAT16_INSTRUCTIONS = {"AMX": {"amx_bf16"}, "AVX512-BF16": {"avx512_bf16"}, "ARM's BF16": {"bf16"}}
"""What processors call their instructions for bfloat16, and the flags by which Linux names them."""


@lru_cache(maxsize=1)
def cpu_flags() -> frozenset[str]:
    """The processor's capabilities, as Linux names them; elsewhere those that PyTorch can tell."""
    import torch

    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
        found = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
        return frozenset(found.partition(":")[2].split())
    tests = {"amx_bf16": "_is_amx_tile_supported", "avx512_bf16": "_is_avx512_bf16_supported"}
    return frozenset(flag for flag, test in tests.items() if getattr(torch.cpu, test, lambda: False)())


@lru_cache(maxsize=4)
def dtype_race(device: str) -> Race:
    """Multiply the same matrices in float32 and in bfloat16, in turns, and keep the best time of each.

    It decides nothing: `pick_dtype` does. It is what `ftdemo doctor` reports.
    """
    import torch

    runners = [_product(torch.float32, device), _product(torch.bfloat16, device)]
    best = [math.inf, math.inf]
    deadline = time.perf_counter() + _RACE_SECONDS
    while time.perf_counter() < deadline:
        for lane, run in enumerate(runners):
            start = time.perf_counter()
            run()
            best[lane] = min(best[lane], time.perf_counter() - start)
    gflops = [2e-9 * _RACE_ROWS * _RACE_IN * _RACE_OUT / seconds for seconds in best]
    return Race(float32=gflops[0], bfloat16=gflops[1])


def _product(dtype: torch.dtype, device: str) -> Callable[[], float]:
    """A function that multiplies two matrices and waits for the device; it has run once, for that builds the kernel."""
    import torch

    left = torch.randn(_RACE_ROWS, _RACE_IN, device=device).to(dtype)
    right = torch.randn(_RACE_IN, _RACE_OUT, device=device).to(dtype)

    def run() -> float:
        """The sum of the product, read back so that the device has to finish."""
        return float((left @ right).sum().item())

    run()
    return run


def cpu_name() -> str:
    """The processor's name, as the system gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Processor cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(device: torch.device) -> dict[str, Any]:
    """The machine as a run records it."""
    import psutil
    import torch

    return {
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.machine()}",
    }


def reset_peak_memory(device: torch.device) -> None:
    """Start a new measurement of peak memory, where the system can."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        except OSError:
            return  # the peak then counts from the start of the process


def give_memory_back() -> None:
    """Give the system what this process holds and no longer uses; glibc would keep it, for each thread."""
    import ctypes

    import torch

    gc.collect()
    torch.cuda.empty_cache()  # where CUDA was never used, this does nothing
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim:
        trim(0)


def peak_memory(device: torch.device) -> int:
    """Most bytes held at once since `reset_peak_memory`: on a GPU its own memory, else the whole process's."""
    import psutil
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    memory = psutil.Process().memory_info()
    return int(getattr(memory, "peak_wset", memory.rss))
