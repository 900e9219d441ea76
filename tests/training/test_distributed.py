"""Runs of several processes against the same runs of one: real processes, which talk through gloo on this CPU."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
import yaml
from accelerate.utils import DistributedType
from click.testing import CliRunner

from ftdemo.cli.main import main
from ftdemo.data.batches import plan_batches
from ftdemo.errors import TrainingError, UsageError
from ftdemo.events import Evaluated, Event, Finished, Sampled, Started, Step
from ftdemo.recipe import Recipe
from ftdemo.runs.perform import perform
from ftdemo.runs.run import Run
from ftdemo.training import distributed
from ftdemo.training.loop import _hand_over
from ftdemo.training.prepare import prepare

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
TRAIN = ["train", "recipe.yaml", "--out", "run", "--json"]
TINY: dict[str, Any] = {
    "method": "scratch",
    "examples": 60,
    "width": 64,
    "layers": 2,
    "vocabulary": 512,
    "max_length": 64,
    "batch_tokens": 512,
    "dtype": "float32",
    "sample_prompts": 1,
    "max_steps": 8,
    "seed": 1,
}
LETTERS = TINY | {"data": "replies", "packing": False, "max_length": 256, "eval_every": 3}
"""Conversations a row each, so that batches hold as many rows as their lengths allow: one, two or three."""
SAME = 1e-4
"""Asked for. Processes add up the same numbers in another order, which float32 rounds at about 1e-6."""

CARRY_OUT = """
import json, os, sys, threading
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import DistributedType

from ftdemo.training import distributed
from ftdemo.runs import perform as runs
from ftdemo.events import Step
from ftdemo.training.prepare import prepare
from ftdemo.recipe import Recipe
from ftdemo.runs.perform import perform
from ftdemo.runs.run import Run

PartialState(cpu=True)
if sharding := bool(os.environ.get("ACCELERATE_USE_FSDP")):
    # Accelerate shards models over GPUs alone. PyTorch does over CPUs as well: so these are said to be GPUs.
    PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU

learners = []
runs.prepare = lambda recipe: learners.append(prepare(recipe)) or learners[-1]

for job in json.loads(sys.argv[1]):
    stop, out = threading.Event(), Path(job["out"])
    resume = Run.load(out) if job.get("resume") else None
    for event in perform(Recipe(**job["recipe"]), out, stop=stop, resume=resume):
        if isinstance(event, Step) and event.step == job.get("stopped_by_the_second_at") and not distributed.is_main():
            stop.set()
    assert distributed.has_sharded_weights(learners.pop().model) == sharding
"""
"""Carries out several recipes in the same processes, which saves starting them anew."""


@pytest.fixture(scope="module", autouse=True)
def frugal() -> Iterator[None]:
    """One thread a process, which waits without spinning: two share the cores with whatever else runs here."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}.items():
            patch.setenv(name, value)
        yield


def alone(recipe: dict[str, Any], out: Path) -> Run:
    """The run of one process, this one."""
    list(perform(Recipe(**recipe), out))
    return Run.load(out)


def launch(command: list[str], *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*command, *arguments], cwd=cwd, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done


def carry_out(launcher: list[str], jobs: Iterable[dict[str, Any]], folder: Path) -> None:
    """Let two processes carry out some recipes, one after the other."""
    script = folder / "carry_out.py"
    script.write_text(CARRY_OUT, encoding="utf-8")
    launch(launcher, str(script), json.dumps(list(jobs)), cwd=folder)


def losses(events: Iterable[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, Step | Evaluated)]


def gradient_norms(events: Iterable[Event]) -> list[float]:
    return [event.grad_norm for event in events if isinstance(event, Step)]


def tokens(events: Iterable[Event]) -> list[int]:
    return [event.tokens for event in events if isinstance(event, Step)]


def assert_same(ours: Run, alone: Run) -> None:
    """Same losses, gradients and tokens, event by event."""
    assert [type(event) for event in ours.events] == [type(event) for event in alone.events]
    assert losses(ours.events) == pytest.approx(losses(alone.events), abs=SAME)
    assert gradient_norms(ours.events) == pytest.approx(gradient_norms(alone.events), rel=1e-3)
    assert tokens(ours.events) == tokens(alone.events)
    assert (ours.record["processes"], alone.record["processes"]) == (2, 1)


# ── the command, as a reader would type it ──────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return alone(TINY, tmp_path_factory.mktemp("alone") / "tiny")


def test_two_processes_train_as_one_does_and_only_the_main_one_prints_and_writes(tiny: Run, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(TINY), encoding="utf-8")
    done = launch([*TORCHRUN, "-m"], "ftdemo", *TRAIN, cwd=tmp_path)
    said = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    kinds = [Started, Evaluated, Sampled, *[Step] * 8, Evaluated, Sampled, Finished]
    assert said == [*(kind.__name__.lower() for kind in kinds), "saved"]
    assert_same(Run.load(tmp_path / "run"), tiny)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recipe.yaml", "run"]


def test_an_error_is_printed_once(tmp_path: Path) -> None:
    command = [*TORCHRUN, "-m", "ftdemo", "train", "missing.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 1  # the launcher's own; ours was 2
    assert done.stderr.count("Error: missing.yaml: No such file or directory.") == 1
    assert "local_rank" in done.stderr  # torchrun speaks of the process that failed first


def test_processes_that_accelerate_should_have_started_but_did_not_are_missed(tmp_path: Path) -> None:
    """On CPUs `accelerate launch` starts one process, however many its configuration names."""
    config = {"compute_environment": "LOCAL_MACHINE", "distributed_type": "MULTI_CPU", "use_cpu": True}
    (tmp_path / "cpu.yaml").write_text(yaml.safe_dump(config | {"num_machines": 1, "num_processes": 2}))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(TINY), encoding="utf-8")
    command = [*ACCELERATE, "--config_file", "cpu.yaml", "-m", "ftdemo", *TRAIN]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode != 0
    assert "started only one" in done.stderr
    assert "torchrun --nproc-per-node 2 -m ftdemo train" in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_there_is_refused_aloud_by_the_main_process_and_silently_by_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {}
    monkeypatch.setattr(distributed, "_SECONDS_TO_REPORT", 0)
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        done = CliRunner().invoke(main, ["train", "scratch", "--out", str(tmp_path)])
        assert done.exit_code == 2
        said[rank] = done.output
    assert "already exists" in said["0"]
    assert said["1"] == ""


# ── every kind of run ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Recipes by what is particular about them. The adapter goes onto a model that was made here, from scratch."""
    base = tmp_path_factory.mktemp("base") / "letters"
    alone(LETTERS | {"eval_every": None}, base)
    small = {key: LETTERS[key] for key in ("data", "examples", "max_length", "dtype", "sample_prompts", "seed")}
    return {
        "uneven": LETTERS | {"batch_tokens": 650, "accumulate": 3, "max_steps": 4},
        "lora": small | {"method": "lora", "model": str(base), "batch_tokens": 300, "max_steps": 4, "lr": 1e-2},
        "classes": {"method": "classify", "model": str(base), "batch_tokens": 64, "max_length": 32, "max_steps": 3}
        | {"dtype": "float32", "examples": 10},
    }


@pytest.fixture(scope="module")
def runs_of_two(recipes: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The same recipes, each carried out by two processes; and one that the second process was asked to stop."""
    folder = tmp_path_factory.mktemp("two")
    jobs = [{"recipe": recipe, "out": str(folder / name)} for name, recipe in recipes.items()]
    stopped = {"recipe": LETTERS, "out": str(folder / "stopped"), "stopped_by_the_second_at": 3}
    carry_out(TORCHRUN, [*jobs, stopped], folder)
    return {name: Run.load(folder / name) for name in [*recipes, "stopped"]}


@pytest.mark.parametrize("kind", ["uneven", "lora", "classes"])
def test_two_processes_train_as_one_does(
    kind: str, recipes: dict[str, dict[str, Any]], runs_of_two: dict[str, Run], tmp_path: Path
) -> None:
    assert_same(runs_of_two[kind], alone(recipes[kind], tmp_path / "alone"))


def test_the_uneven_batches_had_one_row_two_and_three(recipes: dict[str, dict[str, Any]]) -> None:
    """Of one row the second process has none, of three it has fewer than the first."""
    recipe = Recipe(**recipes["uneven"])
    plan = plan_batches(prepare(recipe).train.lengths, batch_tokens=recipe.batch_tokens, epochs=1, seed=recipe.seed)
    assert {len(plan[place]) for place in range(recipe.accumulate * (recipe.max_steps or 0))} == {1, 2, 3}


def test_a_run_that_one_process_is_asked_to_stop_is_stopped_in_all_at_the_same_step(
    runs_of_two: dict[str, Run],
) -> None:
    stopped = runs_of_two["stopped"]
    assert (stopped.record["status"], stopped.record["steps"]) == ("stopped", 3)
    assert [type(event) for event in stopped.events[-3:]] == [Evaluated, Sampled, Finished]


# ── a process dies ──────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def launched(command: list[str], cwd: Path) -> Iterator[subprocess.Popen[str]]:
    with (
        (cwd / "stderr.txt").open("w") as stderr,
        subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=stderr, text=True) as launcher,
    ):
        try:
            yield launcher
        finally:
            launcher.kill()


def kill_process(launcher: subprocess.Popen[str], rank: int) -> None:
    """What the system does to a process for which there is no memory."""
    children = psutil.Process(launcher.pid).children(recursive=True)
    (lost,) = [child for child in children if child.environ().get("RANK") == str(rank)]
    lost.send_signal(signal.SIGKILL)


def test_a_process_that_is_killed_ends_the_run_clearly_and_what_was_trained_goes_on_to_the_end(tmp_path: Path) -> None:
    recipe = LETTERS | {"epochs": 5, "max_steps": 60, "eval_every": None}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    command = [*TORCHRUN, "-m", "ftdemo", *TRAIN]
    with launched(command, tmp_path) as launcher:
        assert launcher.stdout
        for line in launcher.stdout:
            if json.loads(line).get("step") == 3:
                kill_process(launcher, rank=1)
                break
        began = time.monotonic()
        launcher.stdout.read()
        assert launcher.wait(timeout=300) != 0
    # Closed connections are seen at once; ten minutes of silence would be waited for otherwise.
    assert time.monotonic() - began < 300
    said = (tmp_path / "stderr.txt").read_text(encoding="utf-8")
    assert "Error: Another process of this run has ended" in said
    assert "Resume from its last checkpoint: ftdemo train --resume run" in said
    _ours, launchers = said.split("Traceback", maxsplit=1)
    assert "ChildFailedError" in launchers
    assert "Traceback" not in launchers
    failed = Run.load(tmp_path / "run")
    assert failed.record["status"] == "failed"
    assert 3 <= failed.record["steps"] < 60
    list(perform(failed.recipe, failed.folder, resume=failed))
    ended = Run.load(tmp_path / "run")
    assert ended.record["status"] == "completed"
    assert [event.step for event in ended.events if isinstance(event, Step)] == list(range(1, 61))


def test_an_error_of_this_process_is_not_put_down_to_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(torch.OutOfMemoryError), distributed.explaining_lost_peers(tmp_path):
        raise torch.OutOfMemoryError("CUDA out of memory, says NCCL")
    with pytest.raises(RuntimeError, match="sizes do not match"), distributed.explaining_lost_peers(tmp_path):
        raise RuntimeError("sizes do not match")
    with pytest.raises(TrainingError, match="has ended"), distributed.explaining_lost_peers(tmp_path):
        raise RuntimeError("gloo/transport/tcp/pair.cc: Connection closed by peer")


@pytest.mark.parametrize("kind", [DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM, DistributedType.FSDP])
def test_ways_to_share_weights_that_put_another_model_in_place_of_ours_are_refused(kind: DistributedType) -> None:
    accelerator: Any = SimpleNamespace(distributed_type=kind, is_fsdp2=False)  # real ones need GPUs
    with pytest.raises(UsageError, match=rf"(?s){kind.value}.*fsdp_version: 2"):
        _hand_over(accelerator, accelerator)


# ── weights shared out ──────────────────────────────────────────────────────────────────────────────────────────────

FSDP = {
    "compute_environment": "LOCAL_MACHINE",
    "distributed_type": "FSDP",
    "num_machines": 1,
    "num_processes": 2,
    "mixed_precision": "no",
    "fsdp_config": {
        "fsdp_version": 2,
        "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_transformer_layer_cls_to_wrap": "LlamaDecoderLayer",
        "fsdp_reshard_after_forward": True,
        "fsdp_cpu_ram_efficient_loading": True,
        "fsdp_state_dict_type": "FULL_STATE_DICT",
    },
}
"""What `accelerate config` writes for fully sharded data parallelism, version 2."""


@pytest.fixture(scope="module")
def sharded(recipes: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Runs of two processes that hold half of each weight; the last one was stopped and went on."""
    folder = tmp_path_factory.mktemp("sharded")
    (folder / "fsdp.yaml").write_text(yaml.safe_dump(FSDP), encoding="utf-8")
    patient = {"recipe": LETTERS | {"eval_every": 2, "patience": 2}, "out": str(folder / "resumed")}
    jobs: list[dict[str, Any]] = [
        {"recipe": TINY, "out": str(folder / "tiny")},
        {"recipe": recipes["lora"], "out": str(folder / "lora")},
        patient | {"stopped_by_the_second_at": 3},
        patient | {"resume": True},
    ]
    carry_out([*ACCELERATE, "--config_file", "fsdp.yaml"], jobs, folder)
    return {name: Run.load(folder / name) for name in ("tiny", "lora", "resumed")}


def test_processes_that_hold_half_of_each_weight_train_as_one_does(
    tiny: Run, sharded: dict[str, Run], runs_of_two: dict[str, Run]
) -> None:
    assert_same(sharded["tiny"], tiny)
    assert losses(sharded["lora"].events) == pytest.approx(losses(runs_of_two["lora"].events), abs=SAME)


def test_a_model_that_was_shared_out_is_written_whole(tiny: Run, sharded: dict[str, Run]) -> None:
    written = [load_whole(run.folder) for run in (sharded["tiny"], tiny)]
    text = torch.arange(40)[None]
    with torch.no_grad():
        ours, theirs = (model(text).logits for model in written)
    # AdamW turns differences of 1e-7 in tiny gradients into some of 1e-4 in weights; logits reach 5
    assert (ours - theirs).abs().max() < 1e-2
    assert sum(weight.numel() for weight in written[0].parameters()) == sum(w.numel() for w in written[1].parameters())


def load_whole(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


def test_a_shared_out_run_goes_on_where_it_was_stopped(sharded: dict[str, Run], tmp_path: Path) -> None:
    resumed = sharded["resumed"]
    assert resumed.record["status"] == "completed"
    uninterrupted = alone(resumed.record["recipe"], tmp_path / "alone")
    ours, theirs = ([event.loss for event in run.events if isinstance(event, Step)] for run in (resumed, uninterrupted))
    assert ours == pytest.approx(theirs, abs=SAME)
