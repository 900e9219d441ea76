"""Runs that were broken off and go on: with the numbers of a run that was not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import QUICK, TINY, carried_out, interrupted, steps
from safetensors.torch import load_file, save_file

from ftdemo.errors import UsageError
from ftdemo.events import Evaluated, Event, Finished, Sampled, Started, Step
from ftdemo.recipe import Recipe
from ftdemo.runs.perform import perform
from ftdemo.runs.run import Run
from ftdemo.training import checkpoint, hardware


def resumed(run: Run) -> Run:
    went_on: Run = carried_out(run.recipe, run.folder, resume=run)
    return went_on


def weights(run: Run) -> dict[str, torch.Tensor]:
    (file,) = (run.folder / name for name in ("adapter_model.safetensors", "model.safetensors") if has(run, name))
    return dict(load_file(file))


def has(run: Run, name: str) -> bool:
    return (run.folder / name).exists()


def numbers(run: Run) -> list[Any]:
    """What a run's events say, but for the time that it took."""
    return [
        (event.step, event.loss, getattr(event, "lr", None), getattr(event, "grad_norm", None))
        for event in run.events
        if isinstance(event, Step | Evaluated)
    ]


def assert_same(run: Run, unbroken: Run) -> None:
    """Bit for bit the same weights, and the same numbers in the record, each of them once."""
    expected, found = weights(unbroken), weights(run)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert numbers(run) == numbers(unbroken)
    assert [type(event) for event in run.events] == [type(event) for event in unbroken.events]
    assert [step.step for step in steps(run.events)] == list(range(1, unbroken.record["steps"] + 1))


@pytest.mark.parametrize("after", [1, 3, 5])  # in warm-up; where a look at the held-out loss is due; in the fall
def test_a_run_that_goes_on_gives_the_numbers_of_one_that_was_never_stopped(
    after: int, tiny_run: Run, tmp_path: Path
) -> None:
    stopped = interrupted(TINY, tmp_path / "run", after=after)
    assert stopped.record["status"] == "stopped"
    assert len(steps(stopped.events)) == after
    assert_same(resumed(stopped), tiny_run)


def test_a_run_that_is_stopped_and_judged_goes_on_as_if_it_had_not_been(
    chat_run: Run, chat_recipe: Recipe, tmp_path: Path
) -> None:
    stop = threading.Event()
    for event in perform(chat_recipe, tmp_path / "run", stop=stop):
        if isinstance(event, Step) and event.step == 3:
            stop.set()
    stopped = Run.load(tmp_path / "run")
    assert [type(event) for event in stopped.events[-3:]] == [Evaluated, Sampled, Finished]
    whole = resumed(stopped)
    assert_same(whole, chat_run)
    assert [sample.step for sample in whole.events if isinstance(sample, Sampled)] == [0, 6]


def test_a_run_can_be_broken_off_more_than_once(chat_run: Run, chat_recipe: Recipe, tmp_path: Path) -> None:
    run = interrupted(chat_recipe, tmp_path / "run", after=2)
    with closing(perform(chat_recipe, run.folder, resume=run)) as events:
        while not isinstance(next(events), Step):
            pass
    assert [step.step for step in steps(Run.load(run.folder).events)] == [1, 2, 3]
    assert_same(resumed(Run.load(run.folder)), chat_run)


def test_lora_on_smollm2_goes_on_bit_for_bit(quick_run: Run, quick_events: list[Event], tmp_path: Path) -> None:
    baseline = [event for event in quick_events if isinstance(event, Evaluated | Sampled) and event.step == 0]
    with closing(perform(QUICK, tmp_path / "run", baseline=baseline)) as events:
        while getattr(next(events), "step", 0) < 2:
            pass
    assert_same(resumed(Run.load(tmp_path / "run")), quick_run)


@pytest.mark.parametrize("settings", [{"method": "dora"}, {"method": "full"}, {"method": "full", "optimizer": "muon"}])
def test_every_kind_of_weight_that_moves_goes_on_bit_for_bit(
    settings: dict[str, str], lora_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = lora_recipe.with_settings({**settings, "sample_prompts": 1, "weight_decay": 0.1})
    unbroken = carried_out(recipe, tmp_path / "unbroken")
    assert_same(resumed(interrupted(recipe, tmp_path / "run", after=3)), unbroken)


def test_a_resumed_run_yields_only_what_is_new(chat_recipe: Recipe, tmp_path: Path) -> None:
    run = interrupted(chat_recipe, tmp_path / "run", after=5)
    kinds = [type(event) for event in perform(chat_recipe, run.folder, resume=run)]
    assert kinds == [Started, Step, Evaluated, Sampled, Finished]


def test_a_checkpoint_is_gone_once_the_run_is_complete(chat_recipe: Recipe, chat_run: Run, tmp_path: Path) -> None:
    stopped = interrupted(chat_recipe, tmp_path / "run", after=1)
    assert has(stopped, checkpoint.FILE)
    resumed(stopped)
    assert {path.name for path in stopped.folder.iterdir()} == {path.name for path in chat_run.folder.iterdir()}
    assert not has(chat_run, checkpoint.FILE)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_checkpoint_holds_weights_moments_and_counters_and_no_code(chat_recipe: Recipe, tmp_path: Path) -> None:
    stopped = interrupted(chat_recipe, tmp_path / "run", after=2)
    held = load_file(stopped.folder / checkpoint.FILE)  # safetensors: no pickle is read
    saved = weights(stopped)
    assert {name.partition("/")[0] for name in held} == {"weight", "exp_avg", "exp_avg_sq"}
    assert all(torch.equal(held[f"weight/{name}"], weight) for name, weight in saved.items())


def test_a_run_that_is_complete_is_not_resumed(chat_run: Run) -> None:
    with pytest.raises(UsageError, match=r"(?s)holds no checkpoint\.safetensors: the run is complete.*raise `epochs`"):
        resumed(chat_run)


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def overwrite(file: Path) -> None:
    file.write_bytes(b"no tensors here")


def without_counters(file: Path) -> None:
    save_file(load_file(file), file)


def of_another_model(file: Path) -> None:
    counters = json.dumps({"step": 1, "tokens": 1, "seconds": 1.0})
    save_file({"weight/elsewhere": torch.zeros(2)}, file, metadata={"progress": counters})


@pytest.mark.parametrize("damage", [cut_short, overwrite, without_counters, of_another_model])
def test_a_checkpoint_that_does_not_fit_is_refused_and_the_run_left_alone(
    damage: Any, chat_recipe: Recipe, tmp_path: Path
) -> None:
    stopped = interrupted(chat_recipe, tmp_path / "run", after=1)
    damage(stopped.folder / checkpoint.FILE)
    before = {path.name: path.read_bytes() for path in stopped.folder.iterdir()}
    with pytest.raises(UsageError, match=r"(?s)checkpoint\.safetensors does not fit this run.*Start a new run"):
        resumed(stopped)
    assert {path.name: path.read_bytes() for path in stopped.folder.iterdir()} == before


def test_while_it_trains_a_run_can_be_read_and_its_model_used(chat_recipe: Recipe, tmp_path: Path) -> None:
    recipe = chat_recipe.with_settings({"save_every": 2})
    seen = {}
    for event in perform(recipe, tmp_path / "run"):
        if isinstance(event, Step) and (tmp_path / "run").exists():
            run = Run.load(tmp_path / "run")
            seen[event.step] = (run.record["status"], run.record["steps"])
            model, _tokenizer = run.load_model()
            assert torch.isfinite(model.lm_head.weight).all()
    assert seen == {2: ("running", 2), 3: ("running", 2), 4: ("running", 4), 5: ("running", 4), 6: ("running", 4)}
    assert Run.load(tmp_path / "run").record["status"] == "completed"


def test_a_killed_run_goes_on_from_its_last_checkpoint(chat_recipe: Recipe, chat_run: Run, tmp_path: Path) -> None:
    recipe = chat_recipe.with_settings({"save_every": 2})
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    command = [sys.executable, "-m", "ftdemo", "train", "recipe.yaml", "--json", "--out", "run"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("step") == 5:
            process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    killed = Run.load(tmp_path / "run")
    assert killed.record["status"] == "running"
    assert killed.record["steps"] == 4
    assert_same(resumed(killed), chat_run)


def test_early_stopping_remembers_over_a_break(chat_recipe: Recipe, tmp_path: Path) -> None:
    recipe = overfitting(chat_recipe)
    unbroken = carried_out(recipe, tmp_path / "unbroken")
    last = unbroken.record["steps"]
    best = unbroken.events[-1].best_step
    assert best < last < 200
    for after in (best, last - 1):  # where the best weights are about to be noted, and where they are kept
        stopped = interrupted(recipe, tmp_path / f"after-{after}", after=after)
        whole = resumed(stopped)
        assert_same(whole, unbroken)
        assert whole.events[-1].best_step == best  # type: ignore[union-attr]


def overfitting(chat_recipe: Recipe) -> Recipe:
    """Learns by heart what cannot be foreseen, until its held-out loss has risen twice."""
    return chat_recipe.with_settings(
        {"lr": 2e-2, "schedule": "constant", "max_steps": None, "patience": 2, "eval_every": 4}
    )


def test_a_run_whose_patience_is_spent_takes_no_further_step(chat_recipe: Recipe, tmp_path: Path) -> None:
    recipe = overfitting(chat_recipe)
    ended = list(perform(recipe, tmp_path / "unbroken"))[-1]
    assert isinstance(ended, Finished)
    with closing(perform(recipe, tmp_path / "run")) as events:
        for event in events:
            if isinstance(event, Evaluated) and event.step == ended.steps:
                break  # after the last look, before the best weights are put back
    continued = list(perform(recipe, tmp_path / "run", resume=Run.load(tmp_path / "run")))
    assert [type(event) for event in continued] == [Started, Sampled, Finished]
    assert continued[-1].best_step == ended.best_step  # type: ignore[union-attr]
    assert_same(Run.load(tmp_path / "run"), Run.load(tmp_path / "unbroken"))


def test_answers_on_the_way_are_kept_over_a_break_and_given_anew_after_it(chat_recipe: Recipe, tmp_path: Path) -> None:
    recipe = chat_recipe.with_settings({"sample_every": 2})
    unbroken = carried_out(recipe, tmp_path / "unbroken")
    assert [event.step for event in unbroken.events if isinstance(event, Sampled)] == [0, 2, 4, 6]
    assert_same(resumed(interrupted(recipe, tmp_path / "run", after=3)), unbroken)


def test_a_run_goes_on_in_its_own_number_format_on_a_machine_that_would_choose_another(
    chat_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = chat_recipe.with_settings({"dtype": "auto"})
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset({"avx2"}))
    stopped = interrupted(recipe, tmp_path / "run", after=2)
    assert stopped.record["dtype"] == "float32"
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset({"amx_bf16"}))
    went_on = resumed(stopped)
    assert (went_on.record["dtype"], went_on.record["status"]) == ("float32", "completed")
    (started,) = (event for event in went_on.events if isinstance(event, Started))
    assert started.dtype == "float32"
    assert "no instructions that multiply bfloat16" in started.reasons["dtype"]
