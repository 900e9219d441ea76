"""Recipes for other trainers: every option exists, all say the same, and TRL's first losses equal ours."""

from __future__ import annotations

import ast
import json
import runpy
import site
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from conftest import write_rows
from trainer_options import FILE, read_options

from ftdemo.cli.export import export_command
from ftdemo.cli.main import main
from ftdemo.data import BUILT_IN
from ftdemo.errors import ModelError, UsageError
from ftdemo.events import Step
from ftdemo.models.catalog import known_parameters, parse_size, usual_learning_rate
from ftdemo.recipe import Recipe
from ftdemo.runs.elsewhere.job import Job, translate
from ftdemo.runs.elsewhere.tool import Setting
from ftdemo.runs.elsewhere.write import TOOLS, export_job
from ftdemo.training.loop import train
from ftdemo.training.prepare import prepare

OTHERS = [tool for tool in TOOLS.values() if not tool.is_ours]
QUICK: dict[str, Any] = {
    **{"method": "lora", "model": "tiny", "examples": 24, "lr": 1e-3, "dtype": "float32", "seed": 1},
    **{"schedule": "constant", "warmup": 0, "max_steps": 3, "eval_every": None},
}
EVERY_KEY: dict[str, Any] = {
    **{"model": "smollm2", "examples": 12, "rank": 4, "alpha": 8, "targets": ["q_proj", "v_proj"]},
    **{"schedule": "cosine", "weight_decay": 0.1, "patience": 2, "save_every": 4, "eval_every": 2, "accumulate": 2},
}


@pytest.fixture(scope="module")
def options() -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {f"{name.partition('==')[0]}": options for name, options in found.items()}


@pytest.fixture(scope="module")
def smollm2_job() -> Job:
    return translate(Recipe(**EVERY_KEY))


def values_of(job: Job, tool: str) -> dict[str, Any]:
    """All settings of a trainer, whatever their heading."""
    return {setting.key: setting.value for settings in TOOLS[tool].settings(job).values() for setting in settings}


def names(settings: Sequence[Setting]) -> set[str]:
    return {setting.key for setting in settings}


def chats(file: Path, *rows: list[dict[str, Any]]) -> str:
    return str(write_rows(file, [{"messages": row} for row in rows]))


def turns(*contents: str, untrained: Sequence[int] = ()) -> list[dict[str, Any]]:
    roles = ("user", "assistant")
    rows: list[dict[str, Any]] = [{"role": roles[n % 2], "content": text} for n, text in enumerate(contents)]
    for place in untrained:
        rows[place]["train"] = False
    return rows


def test_every_option_of_a_configuration_is_one_of_the_tool(
    options: dict[str, dict[str, list[str]]], smollm2_job: Job
) -> None:
    for tool, package in (("axolotl", "axolotl"), ("llama-factory", "llamafactory"), ("mlx", "mlx-lm")):
        config = yaml.safe_load(TOOLS[tool].files(smollm2_job)["config.yaml"])
        assert set(config) <= set(options[package]["config"]), tool
        assert config == values_of(smollm2_job, tool)
    for data_set in values_of(smollm2_job, "axolotl")["datasets"]:
        assert set(data_set) <= set(options["axolotl"]["datasets"])


def test_every_argument_of_a_script_is_one_of_the_tool(
    options: dict[str, dict[str, list[str]]], smollm2_job: Job
) -> None:
    from peft import LoraConfig
    from trl import SFTConfig

    for call, settings in TOOLS["unsloth"].settings(smollm2_job).items():
        assert names(settings) <= set(options["unsloth"][call]), call
    groups = TOOLS["peft-trl"].settings(smollm2_job)
    assert names(groups["SFTConfig"]) <= set(SFTConfig.__dataclass_fields__)
    assert names(groups["LoraConfig"]) <= set(LoraConfig.__dataclass_fields__)
    for tool in ("peft-trl", "unsloth"):
        ast.parse(TOOLS[tool].files(smollm2_job)["train.py"])


def test_all_tools_get_the_same_rate_batch_rank_and_steps(smollm2_job: Job) -> None:
    batches = smollm2_job.batches
    for tool in OTHERS:
        values = values_of(smollm2_job, tool.name)
        size = {"axolotl": "micro_batch_size", "mlx": "batch_size"}.get(tool.name, "per_device_train_batch_size")
        times = "grad_accumulation_steps" if tool.name == "mlx" else "gradient_accumulation_steps"
        assert (values[size], values[times]) == (batches.examples, 2)
        assert values["learning_rate"] == 4e-3
        assert values["seed"] == 0
    assert values_of(smollm2_job, "mlx")["lora_parameters"] == {
        **{"rank": 4, "scale": 2.0, "dropout": 0.0},
        "keys": ["self_attn.q_proj", "self_attn.v_proj"],
    }
    assert values_of(smollm2_job, "llama-factory")["lora_target"] == "q_proj,v_proj"
    assert values_of(smollm2_job, "axolotl")["lora_target_modules"] == ["q_proj", "v_proj"]


def test_the_model_goes_by_its_hub_id_and_the_folder_names_no_path_of_this_machine(
    smollm2_job: Job, tmp_path: Path
) -> None:
    data = chats(tmp_path / "mine.jsonl", turns("Is it open?", "Until six."), turns("Rope?", "Aisle two."))
    own = translate(Recipe(**{**QUICK, "data": data}))
    for tool in TOOLS.values():
        export_job(own, tool, tmp_path / "own" / tool.name)
        export_job(smollm2_job, tool, tmp_path / "hub" / tool.name)
    assert values_of(smollm2_job, "axolotl")["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (tmp_path / "own" / "mlx" / "model" / "model.safetensors").is_file()
    assert not (tmp_path / "hub" / "mlx" / "model").exists()
    for file in tmp_path.glob("*/*/*"):
        if file.suffix in (".py", ".yaml", ".md", ".jinja"):
            text = file.read_text(encoding="utf-8")
            assert str(tmp_path) not in text
            assert (
                str(Path(main.__code__.co_filename if hasattr(main, "__code__") else __file__).parents[2]) not in text
            )
            assert str(Path.home()) not in text


def test_a_larger_model_gets_rate_rank_batch_and_memory_by_its_size() -> None:
    job = translate(Recipe(), model="meta-llama/Llama-3.1-8B-Instruct")
    assert job.learning_rate == usual_learning_rate(8_000_000_000, "lora", 1).value == 2e-4
    assert (job.recipe.rank, job.recipe.alpha, job.gradient_checkpointing) == (16, 16, True)
    assert (job.batches.examples, job.batches.accumulate) == (4, 2)
    assert len(job.adapted) == 4
    huge = translate(Recipe(), model="somebody/unnamed", parameters=parse_size("70B"))
    assert values_of(huge, "llama-factory")["quantization_bit"] == 4
    with pytest.raises(UsageError, match="size of somebody/unnamed is not known"):
        translate(Recipe(), model="somebody/unnamed")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("meta-llama/Llama-3.1-8B", 8e9),
        ("a/SmolLM2-360M-Instruct", 360e6),
        ("a/Mixtral-8x7B", None),
        ("smollm2", 134515008),
    ],
)
def test_a_size_is_read_from_the_catalogue_or_the_name(name: str, size: float | None) -> None:
    assert known_parameters(name) == size


@pytest.mark.parametrize(
    ("changes", "tool", "reason", "able"),
    [
        ({"method": "scratch"}, "axolotl", "makes a new model", {"torchrun"}),
        ({"method": "probe"}, "peft-trl", "head that sorts texts", {"torchrun"}),
        ({"method": "vera"}, "mlx", "does not have", {"peft-trl", "torchrun"}),
        ({"method": "full", "optimizer": "muon"}, "mlx", "muon", {"torchrun"}),
        (
            {"targets": r".*\.q_proj"},
            "llama-factory",
            "names of matrices",
            {"peft-trl", "unsloth", "axolotl", "torchrun"},
        ),
        ({"alpha": 8.5}, "axolotl", "whole numbers", {"peft-trl", "unsloth", "mlx", "torchrun"}),
        ({"lr_ratio": 4.0}, "unsloth", "LoRA+", {"peft-trl", "axolotl", "llama-factory", "torchrun"}),
    ],
)
def test_what_a_tool_cannot_do_is_refused_with_the_tools_that_can(
    changes: dict[str, Any], tool: str, reason: str, able: set[str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as refused:
        export_job(translate(Recipe(**changes)), TOOLS[tool], tmp_path / "out")
    assert reason in refused.value.what
    assert set(refused.value.remedy.split("`")[1::2]) == {f"--as {name}" for name in able}
    assert not (tmp_path / "out").exists()


def test_a_model_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="no model that other tools load"):
        translate(Recipe(model=str(tmp_path), lr=1e-3))
    with pytest.raises(ModelError, match="There is no model in"):
        translate(Recipe(model=str(tmp_path / "gone"), lr=1e-3))


def test_answers_that_are_not_trained_are_left_to_the_tools_that_can_tell_them(tmp_path: Path) -> None:
    talk = ("Rope?", "Hemp or nylon?", "Hemp.", "Aisle two.", "Thanks.", "Welcome.")
    some = translate(Recipe(**QUICK | {"data": chats(tmp_path / "some.jsonl", turns(*talk, untrained=[3]))}))
    assert [tool.name for tool in OTHERS if not tool.obstacle(some)] == ["axolotl", "mlx"]
    row = next(iter(some.splits.train))
    (marked,) = TOOLS["axolotl"].rows(some, row)
    assert [turn["train"] for turn in marked["messages"]] == [False, True, False, False, False, True]
    assert [len(each["messages"]) for each in TOOLS["mlx"].rows(some, row)] == [2, 6]

    last = translate(Recipe(**QUICK | {"data": chats(tmp_path / "last.jsonl", turns(*talk[:4], untrained=[1]))}))
    assert values_of(last, "peft-trl")["completion_only_loss"] is True
    assert values_of(last, "unsloth")["last_response_only"] is True
    assert values_of(last, "llama-factory")["mask_history"] is True


def test_the_command_offers_every_tool() -> None:
    (trainer,) = (option for option in export_command.params if option.name == "trainer")
    assert isinstance(trainer.type, click.Choice)
    assert [*trainer.type.choices] == [*TOOLS]


def test_the_command_writes_a_folder_and_says_what_differs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = ["export", "lora", "--as", "llama-factory", "--out", str(out), "--model", "a/b", "--size", "8B", "--json"]
    done = json.loads(CliRunner().invoke(main, line, catch_exceptions=False).stdout)
    assert done["examples"] == len((out / "data" / "train.jsonl").read_text(encoding="utf-8").splitlines()) == 160
    assert done["heldout"] == 20
    readme = (out / "README.md").read_text(encoding="utf-8")
    assert all(note in readme for note in (*done["adapted"], *done["differs"], *done["install"], *done["run"]))
    both = CliRunner().invoke(main, ["export", "lora", "--as", "mlx", "--to", "merged", "--out", str(tmp_path / "x")])
    assert both.exit_code != 0
    assert "either" in both.output


def test_torchrun_gets_the_whole_recipe_and_data_that_is_the_users(tmp_path: Path) -> None:
    data = chats(tmp_path / "mine.jsonl", turns("Is it open?", "Until six."), turns("Rope?", "Aisle two."))
    own = Recipe(**{**QUICK, "data": data, "examples": None})
    export_job(translate(own), TOOLS["torchrun"], tmp_path / "own")
    read = Recipe.from_yaml(tmp_path / "own" / "recipe.yaml")
    assert read == own.with_settings({"data": "./data"})
    assert not (tmp_path / "own" / "model").exists()
    export_job(translate(Recipe(**QUICK)), TOOLS["torchrun"], tmp_path / "built-in")
    assert Recipe.from_yaml(tmp_path / "built-in" / "recipe.yaml").data in BUILT_IN


# The losses of the scripts


def our_losses(recipe: Recipe, examples: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Our losses in the order of the data, with batches of as many examples."""

    def in_order(lengths: Sequence[int], **_settings: Any) -> list[list[list[int]]]:
        places = range(len(lengths))
        return [[[place] for place in places[start:][:examples]] for start in places[::examples]]

    with monkeypatch.context() as patched:
        patched.setattr("ftdemo.training.loop.plan_batches", in_order)
        return [event.loss for event in train(recipe, prepare(recipe)) if isinstance(event, Step)]


def losses_in(folder: Path) -> list[float]:
    state = json.loads((folder / "output" / "trainer_state.json").read_text(encoding="utf-8"))
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_first_losses_of_the_script_for_trl_equal_ours(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(**QUICK | {"method": method})
    job = translate(recipe)
    export_job(job, TOOLS["peft-trl"], tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["train.py", "--in-order"])
    runpy.run_path("train.py", run_name="__main__")
    theirs = losses_in(tmp_path / "out")
    assert len(theirs) == 3
    assert theirs == pytest.approx(our_losses(recipe, job.batches.examples, monkeypatch), abs=1e-3)


# The oldest release, in an environment of its own on top of the one that runs these tests

_OLDEST = "trl==1.0.0"
"""By `pyproject.toml`. It is installed without what it asks for: torch, above all, is the one that is here already."""


def environment(folder: Path) -> str:
    """The Python of a new environment with the oldest release of TRL."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "zz_tests.pth").write_text(site.getsitepackages()[0] + "\n", encoding="utf-8")
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", _OLDEST], check=True)
    return python


@pytest.mark.slow
def test_the_script_for_trl_runs_with_the_oldest_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(**QUICK)
    job = translate(recipe)
    export_job(job, TOOLS["peft-trl"], tmp_path / "out")
    python = environment(tmp_path / "environment")
    subprocess.run([python, "train.py", "--in-order"], cwd=tmp_path / "out", check=True)
    assert losses_in(tmp_path / "out") == pytest.approx(our_losses(recipe, job.batches.examples, monkeypatch), abs=1e-3)


@pytest.mark.slow
def test_the_pinned_options_are_those_of_the_releases(tmp_path: Path) -> None:
    assert read_options(tmp_path) == yaml.safe_load(FILE.read_text(encoding="utf-8"))
