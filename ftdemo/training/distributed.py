"""Several processes, one run: how they meet, agree and share; a run of one process is the simplest case of it.

`torchrun` or `accelerate launch` starts the processes, and Accelerate reads from the environment which of them this
is. Where `accelerate launch` starts one CPU process although several were asked for, `start_missing` starts them all.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdemo.errors import TrainingError, UsageError

if TYPE_CHECKING:
    import torch

_SILENCE = timedelta(minutes=10)
"""A process that the others wait for longer than this is taken for lost."""
_SECONDS_TO_SPEAK = 10
"""How long the main process may take to say what is wrong, on a busy machine."""
_NETWORKS = ("gloo", "NCCL")
"""One of these is named in an error that came from between the processes, not from this process's own work."""


def is_main() -> bool:
    """Whether this is the process that speaks and writes."""
    return int(os.environ.get("RANK", "0")) == 0


def let_the_main_one_speak() -> None:
    """Wait in another process than the main one: a launcher ends all of them as soon as one is gone."""
    time.sleep(_SECONDS_TO_SPEAK)


def world_size() -> int:
    """How many processes carry out the run."""
    import torch.distributed as dist

    return dist.get_world_size() if _are_several() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    import torch.distributed as dist

    return dist.get_rank() if _are_several() else 0


def start_missing(arguments: Sequence[str]) -> bool:
    """Start all processes of this command, where `accelerate launch` was asked for several and started one.

    Args:
        arguments: Of this command: what stands after ``ftdemo``.

    Returns:
        Whether they were started; they have done the work then.

    Raises:
        SystemExit: If one of them failed, with its exit code.
    """
    if not _is_lonely() or not (several := _asked_of_accelerate()):
        return False
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main

    try:
        main(["--standalone", "--nproc-per-node", str(several), "-m", "ftdemo", *arguments])
    except ChildFailedError as failed:
        raise SystemExit(max(1, failed.get_first_failure()[1].exitcode)) from None  # a signal is below 0
    return True


def join(device: torch.device) -> None:
    """Meet the other processes of this run, if there are any.

    Raises:
        UsageError: If several processes were asked for, but the launcher started one.
    """
    from accelerate import PartialState

    if _is_lonely():
        raise UsageError(
            "`accelerate launch` was asked for several processes and started one.",
            "On CPUs, start them with `torchrun --nproc-per-node 2 -m ftdemo train …`.",
        )
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
def explaining_lost_peers(run: Path) -> Iterator[None]:
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
    tensor = tensor.to(weight.device)
    if is_sharded(tensor) or not is_sharded(weight) or not tensor.dim():
        return tensor
    from torch.distributed.tensor import distribute_tensor

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


def _is_lonely() -> bool:
    """Whether `accelerate launch` was asked for several processes and started this one alone, as it does on CPUs.

    It tells of the others by an address to meet at, but gives this process no rank.
    """
    several = "ACCELERATE_MIXED_PRECISION" in os.environ and "MASTER_PORT" in os.environ
    return several and not any(
        name in os.environ for name in ("RANK", "LOCAL_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE")
    )


def _asked_of_accelerate() -> int | None:
    """How many processes the command line or the configuration of the `accelerate launch` above this one names."""
    import psutil
    from accelerate.commands.config.config_args import default_config_file, load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    launcher = psutil.Process().parent()
    line = launcher.cmdline() if launcher else []
    place = next(
        (at for at, word in enumerate(line) if word == "launch" or word.endswith(("-launch", ".launch"))), None
    )
    if place is None:
        return None
    asked, _ = launch_command_parser().parse_known_args(line[place + 1 :])
    if asked.num_processes is None and (asked.config_file or Path(default_config_file).is_file()):
        asked.num_processes = load_config_from_file(asked.config_file).num_processes
    number: int | None = asked.num_processes
    return number
