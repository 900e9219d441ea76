"""Timings: our loop against others on the same batches, in alternating runs, each in a process of its own.

Timings live here and not in tests: a busy machine is no failure.
"""

from benchmarks.compare import time_contenders
from benchmarks.works import WORKS

__all__ = ["WORKS", "time_contenders"]
