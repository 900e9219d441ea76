"""Several processes, one run: how they join, reduce, broadcast and shard. A run of one process is the simplest case.

`torchrun` or `accelerate launch` starts the processes, and Accelerate reads from the environment which of them this is.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdemo.errors import TrainingError, UsageError, shell_line

if TYPE_CHECKING:
    import torch

_TIMEOUT = timedelta(minutes=10)
"""The others give a process up when they have waited this long for it."""
_SECONDS_TO_REPORT = 10
"""How long the main process may take to print what is wrong, on a busy machine."""
_NETWORKS = ("gloo", "NCCL")
"""One of these is named in an error that came from between the processes, not from this process's own work."""


def is_main() -> bool:
    """Whether this is the process that prints and writes: the one of rank 0."""
    return int(os.environ.get("RANK", "0")) == 0


def wait_for_main_to_report() -> None:
    """Let the main process print its error first: a launcher ends all processes as soon as one has exited."""
    time.sleep(_SECONDS_TO_REPORT)


def world_size() -> int:
    """How many processes carry out the run."""
    import torch.distributed as dist

    return dist.get_world_size() if _is_distributed() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    import torch.distributed as dist

    return dist.get_rank() if _is_distributed() else 0


def join(device: torch.device) -> None:
    """Join the other processes of this run, if there are any.

    Raises:
        UsageError: If the launcher should have started several processes, but started one.
    """
    from accelerate import PartialState

    # On CPUs `accelerate launch` starts one process, however many it should: it names a port to meet at, but no rank.
    expects_others = {"ACCELERATE_MIXED_PRECISION", "MASTER_PORT"} <= os.environ.keys()
    if expects_others and not os.environ.keys() & {"RANK", "LOCAL_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"}:
        raise UsageError(
            "`accelerate launch` should start several processes, but started only one.",
            "On CPUs, start them with `torchrun --nproc-per-node 2 -m ftdemo train …`.",
        )
    PartialState(cpu=device.type == "cpu", timeout=_TIMEOUT)


def leave() -> None:
    """Leave the other processes once everything they do together is done."""
    import torch.distributed as dist

    if _is_distributed():
        dist.destroy_process_group()


def broadcast(value: Any) -> Any:
    """The main process's `value`, in every process. All processes have to call this."""
    import torch.distributed as dist

    if not _is_distributed():
        return value
    values = [value]
    dist.broadcast_object_list(values)
    return values[0]


def all_reduce_sum(*numbers: float) -> list[float]:
    """Each number, summed over all processes. All processes have to call this."""
    import torch
    import torch.distributed as dist
    from accelerate import PartialState

    if not _is_distributed():
        return list(numbers)
    sums = torch.tensor(numbers, dtype=torch.float64, device=PartialState().device)
    dist.all_reduce(sums)
    return sums.tolist()


def any_process(flag: bool) -> bool:
    """Whether `flag` is true in any process. All processes have to call this, and all get the same answer."""
    return all_reduce_sum(flag)[0] > 0


@contextmanager
def explaining_lost_peers(run: Path) -> Iterator[None]:
    """Within this, an error from the network becomes one that says what it means: another process has gone.

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
        message = re.sub(r"^\[\S+\] ", "", str(error).splitlines()[0]).split(". ")[0]
        command = shell_line("ftdemo", "train", "--resume", str(run))
        remedy = f"Resume from its last checkpoint: {command}" if run.exists() else "Train again."
        raise TrainingError(
            f"Another process of this run has ended: {message}.",
            f"Look for its error above, or for what ended it: the system does so when memory runs out. {remedy}",
        ) from None


def gather_full(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor, on the CPU of the main process. If it is sharded, all processes have to call this."""
    full = tensor.full_tensor() if is_sharded(tensor) else tensor  # type: ignore[attr-defined]
    return full.detach().cpu() if is_main() else full.new_empty(0)


def copy_local(weight: torch.Tensor) -> torch.Tensor:
    """A copy of what this process has of a weight: a shard stays on its device, a whole weight goes to the CPU."""
    return weight.detach().clone() if is_sharded(weight) else weight.detach().cpu().clone()


def shard_like(tensor: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The tensor on the device of `weight`; if that is sharded, this process's shard of it. Scalars stay whole."""
    tensor = tensor.to(weight.device)
    if is_sharded(tensor) or not is_sharded(weight) or not tensor.dim():
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, weight.device_mesh, weight.placements)  # type: ignore[attr-defined]


def has_sharded_weights(model: torch.nn.Module) -> bool:
    """Whether the model's weights are sharded over the processes of the run."""
    return any(map(is_sharded, model.parameters()))


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether this process holds only a shard of the tensor."""
    return hasattr(tensor, "full_tensor")


def _is_distributed() -> bool:
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()
