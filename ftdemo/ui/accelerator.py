"""Where a demo computes: here; or, on a Space with ZeroGPU, in a process that is lent a GPU for some seconds.

There, a function may take and give only what can be sent to another process and back.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])
ZERO_GPU = "SPACES_ZERO_GPU"
"""Hugging Face sets it in the environment of a Space with ZeroGPU."""
_SECONDS = 60


def on_accelerator(seconds: Callable[..., int] | int = _SECONDS) -> Callable[[Function], Function]:
    """Have a function done where the accelerator is.

    Args:
        seconds: For how long a GPU is asked for, or a function of the same arguments that says so.
    """

    def place(function: Function) -> Function:
        """The function itself, or, on a Space with ZeroGPU, one that runs it on a GPU."""
        if not os.environ.get(ZERO_GPU):
            return function
        import spaces  # comes with such a Space

        placed: Function = spaces.GPU(duration=seconds)(function)
        return placed

    return place
