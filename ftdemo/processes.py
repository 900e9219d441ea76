"""Several processes, one run: how they meet, agree and share; a run of one process is the simplest case of it.

Nothing is started here. `torchrun` or `accelerate launch` starts the processes, and Accelerate reads from the
environment which of them this is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdemo.errors import TrainingError, UsageError

if TYPE_CHECKING:
    import torch

_SILENCE = timedelta(minutes=10)
"""A process that the others wait for longer than this is taken for lost."""
_NETWORKS = ("gloo", "NCCL")
"""One of these is named in an error that came from between the processes, not from this process's own work."""


def is_main() -> bool:
    """Whether this is the process that speaks and writes."""
    return int(os.environ.get("RANK", "0")) == 0


def count() -> int:
    """How many processes carry out the run."""
    import torch.distributed as dist

    return dist.get_world_size() if _are_several() else 1


def place() -> int:
    """Which of them this is, from 0."""
    import torch.distributed as dist

    return dist.get_rank() if _are_several() else 0


def join(device: torch.device) -> None:
    """Meet the other processes of this run, if there are any.

    Raises:
        UsageError: If several processes were asked for, but the launcher started one.
    """
    from accelerate import PartialState

    _refuse_lonely()
    PartialState(cpu=device.type == "cpu", timeout=_SILENCE)


def part() -> None:
    """Take leave of the other processes, at the end of all that is done together."""
    import torch.distributed as dist

    if _are_several():
        dist.destroy_process_group()


def agreed(value: Any) -> Any:
    """What the main process has for `value`, in all of them."""
    import torch.distributed as dist

    if not _are_several():
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def total(*numbers: float) -> list[float]:
    """Each number, summed over all processes. All have to ask."""
    import torch
    import torch.distributed as dist
    from accelerate import PartialState

    if not _are_several():
        return list(numbers)
    sums = torch.tensor(numbers, dtype=torch.float64, device=PartialState().device)
    dist.all_reduce(sums)
    return sums.tolist()


def any_says(flag: bool) -> bool:
    """Whether `flag` is true in any process. All have to ask, and all get the same answer."""
    return total(flag)[0] > 0


@contextmanager
def loss_is_told(run: Path) -> Iterator[None]:
    """Within this, an error of the network is told as what it means: another process has gone.

    Args:
        run: Where the run is kept, once there is something to keep.

    Raises:
        TrainingError: If a process can no longer be reached.
    """
    import torch

    try:
        yield
    except RuntimeError as error:
        named = any(name in str(error) for name in _NETWORKS) or isinstance(error, torch.distributed.DistError)
        if "RANK" not in os.environ or isinstance(error, torch.OutOfMemoryError) or not named:
            raise
        said = re.sub(r"^\[\S+\] ", "", str(error).splitlines()[0]).split(". ")[0]
        goes_on = f"Go on from its last checkpoint: ftdemo train --resume {run}" if run.exists() else "Train again."
        raise TrainingError(
            f"Another process of this run has gone: {said}.",
            f"See what it said, or who killed it: the system does where memory runs out. {goes_on}",
        ) from None


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor, on the CPU of the main process; where it is sharded, all processes have to ask."""
    full = tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return full.detach().cpu() if is_main() else full.new_empty(0)


def copied(weight: torch.Tensor) -> torch.Tensor:
    """A copy of a weight: of a sharded one, of this process's share, beside it; else on the CPU."""
    return weight.detach().clone() if is_sharded(weight) else weight.detach().cpu().clone()


def shard_like(tensor: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The tensor on the device of `weight`; where that is sharded, this process's share of it. Scalars stay whole."""
    from torch.distributed.tensor import distribute_tensor

    tensor = tensor.to(weight.device)
    if is_sharded(tensor) or not is_sharded(weight) or not tensor.dim():
        return tensor
    return distribute_tensor(tensor, weight.device_mesh, weight.placements)  # type: ignore[attr-defined]


def hold_shares(model: torch.nn.Module) -> bool:
    """Whether the model's weights are shared out over the processes of the run."""
    return any(map(is_sharded, model.parameters()))


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether this process holds a share of the tensor alone."""
    return hasattr(tensor, "full_tensor")


def _are_several() -> bool:
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def _refuse_lonely() -> None:
    """`accelerate launch --cpu --num_processes 2` starts one process without a word, unless it goes through MPI."""
    several = "MASTER_PORT" in os.environ and os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true"
    if several and not any(name in os.environ for name in ("RANK", "LOCAL_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE")):
        raise UsageError(
            "`accelerate launch --cpu` was asked for several processes and started one.",
            "On CPUs, start them with `torchrun --nproc-per-node 2 -m ftdemo train …`.",
        )
