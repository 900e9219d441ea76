"""What this machine is and what it is good at: device, number format, peak memory."""

from __future__ import annotations

import gc
import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdemo.errors import ModelError

if TYPE_CHECKING:
    import torch

_RACE_ROWS, _RACE_IN, _RACE_OUT = 512, 576, 1536
"""The race multiplies 512 tokens by a matrix of SmolLM2's feed-forward layer."""
_RACE_SECONDS = 0.4
_BFLOAT16_MARGIN = 1.2
"""bfloat16 must win by this factor, for its rounding is not free."""


@dataclass(frozen=True)
class Race:
    """How fast this machine multiplies matrices in each number format, in 10^9 operations a second."""

    float32: float
    bfloat16: float

    @property
    def winner(self) -> str:
        """The format to keep frozen weights in."""
        return "bfloat16" if self.bfloat16 >= _BFLOAT16_MARGIN * self.float32 else "float32"


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
        raise ModelError(f"`device` is {wanted}, which this machine does not have.", f"Here there is: {there}.")
    return torch.device(wanted)


@lru_cache(maxsize=4)
def dtype_race(device: str) -> Race:
    """Multiply the same matrices in float32 and in bfloat16, in turns, and keep the best time of each.

    A processor with bfloat16 instructions wins by a factor of two or more; one without can lose by ten. Taking turns
    keeps the verdict steady on a machine that is busy with something else.
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
        "race_gflops": asdict(dtype_race(str(device))),
    }


def has_cpp_compiler() -> bool:
    """Whether `torch.compile` finds what it needs on a CPU."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++", "cl"))


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
    """Give the system what this process holds and no longer uses; glibc keeps it otherwise, for each thread anew."""
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
