from __future__ import annotations

import shutil
import threading
from collections.abc import Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import QUICK, carried_out, interrupted, steps, write_rows
from safetensors import SafetensorError
from safetensors.torch import load_file

from ftdemo.errors import StorageError, TrainingError, UsageError
from ftdemo.evaluation.generate import answer_rows
from ftdemo.events import Evaluated, Event, Finished, Sampled, Started, Step
from ftdemo.models import load as models
from ftdemo.recipe import Recipe
from ftdemo.runs import save
from ftdemo.runs.perform import measure_baseline, perform
from ftdemo.runs.run import Run
from ftdemo.training import checkpoint
from ftdemo.training.learner import Learner
from ftdemo.training.loop import evaluate_heldout
from ftdemo.training.prepare import prepare


def test_a_run_yields_its_events_with_judgement_around_them(quick_events: list[Event]) -> None:
    kinds = [type(event) for event in quick_events]
    assert kinds == [Started, Evaluated, Sampled, Step, Step, Evaluated, Step, Step, Evaluated, Sampled, Finished]


def test_the_record_holds_what_is_needed_to_repeat_the_run(quick_run: Run, quick_events: list[Event]) -> None:
    record = quick_run.record
    assert record["version"] == 2
    assert record["status"] == "completed"
    assert record["steps"] == 4
    assert record["recipe"]["seed"] == 0
    assert record["versions"].keys() >= {"ftdemo", "python", "torch", "transformers", "peft", "accelerate"}
    assert record["hardware"].keys() >= {"device", "device_name", "cores", "threads", "memory_bytes"}
    assert len(record["model"]["sha256"]) == len(record["model"]["vocabulary"]) == 64
    assert record["scores"].keys() == {"before", "after"}
    assert record["tokens_per_second"] == pytest.approx(record["tokens"] / record["seconds"])
    assert record["peak_memory_bytes"] > 500e6  # the float32 weights alone are 538 MB
    assert quick_run.events == quick_events
    assert quick_run.recipe == QUICK


def test_the_record_tells_the_heldout_loss_before_and_after(quick_run: Run) -> None:
    losses = [event.loss for event in quick_run.events if isinstance(event, Evaluated)]
    assert quick_run.record["heldout_loss"] == {"before": losses[0], "after": losses[-1]}


def test_the_record_of_a_run_that_overfitted_tells_the_loss_of_the_weights_that_were_kept(
    chat_recipe: Recipe, tmp_path: Path
) -> None:
    overfitting = {"lr": 2e-2, "schedule": "constant", "max_steps": None, "eval_every": 4, "patience": 2}
    events = list(perform(chat_recipe.with_settings(overfitting), tmp_path / "run"))
    run = Run.load(tmp_path / "run")
    looks = {event.step: event.loss for event in events if isinstance(event, Evaluated)}
    best = min(looks, key=looks.__getitem__)
    ended = events[-1]
    assert isinstance(ended, Finished)
    assert ended.best_step == best < ended.steps
    assert run.record["heldout_loss"]["after"] == looks[best]
    learner = prepare(chat_recipe)
    learner.model.load_state_dict(run.load_model()[0].state_dict())
    # float32, with the same kernels on the same batches
    assert evaluate_heldout(learner, 0).loss == pytest.approx(looks[best], abs=1e-6)


def test_the_answers_before_and_after_can_be_read_from_the_record(chat_run: Run) -> None:
    before, after = chat_run.samples()
    assert before is not None
    assert after is not None
    assert (before.step, after.step) == (0, 6)
    assert [answer.prompt for answer in before.answers] == [answer.prompt for answer in after.answers]
    assert chat_run.record["scores"] == {"before": before.scores, "after": after.scores}


def test_a_folder_without_a_record_holds_no_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"(?s)holds no run.*`ftdemo train` wrote"):
        Run.load(tmp_path)


# However it ends


def first_step(events: Generator[Event]) -> Step:
    return next(event for event in events if isinstance(event, Step))


def adapter_norm(folder: Path) -> float:
    """Sum of the norms of all B matrices, which are zero at the start."""
    weights = load_file(folder / "adapter_model.safetensors")
    return float(sum(weight.norm() for name, weight in weights.items() if ".lora_B." in name))


def test_a_stopped_run_keeps_its_adapter_and_is_judged(lora_recipe: Recipe, tmp_path: Path) -> None:
    stop = threading.Event()
    events = []
    for event in perform(lora_recipe, tmp_path / "run", stop=stop):
        events.append(event)
        if isinstance(event, Step):
            stop.set()
    run = Run.load(tmp_path / "run")
    assert [step.step for step in steps(events)] == [1]
    assert events[-1] == run.events[-1]
    assert run.record["status"] == "stopped"
    assert run.record["scores"]["after"]
    assert adapter_norm(run.folder) > 0


def test_a_stop_before_the_first_step_leaves_nothing(lora_recipe: Recipe, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    kinds = [type(event) for event in perform(lora_recipe, tmp_path / "run", stop=stop)]
    assert kinds == [Started]
    assert not list(tmp_path.iterdir())


def test_a_stop_cuts_the_answers_short_that_are_being_given(lora_recipe: Recipe, tmp_path: Path) -> None:
    class SoonSet(threading.Event):
        looks = 0

        def is_set(self) -> bool:
            self.looks += 1
            return super().is_set() or self.looks > 3

    stop = SoonSet()
    recipe = lora_recipe.with_settings({"answer_tokens": 64})
    kinds = [type(event) for event in perform(recipe, tmp_path / "run", stop=stop)]
    assert Sampled not in kinds
    assert stop.looks < 10  # it is looked at for every token
    assert not (tmp_path / "run").exists()


def test_a_stop_in_the_last_step_is_too_late(lora_recipe: Recipe, tmp_path: Path) -> None:
    stop = threading.Event()
    for event in perform(lora_recipe, tmp_path / "run", stop=stop):
        if isinstance(event, Step) and event.step == event.total_steps:
            stop.set()
    assert Run.load(tmp_path / "run").record["status"] == "completed"


def test_a_run_whose_generator_is_closed_keeps_its_adapter(lora_recipe: Recipe, tmp_path: Path) -> None:
    run = interrupted(lora_recipe, tmp_path / "run", after=1)
    assert run.record["status"] == "stopped"
    assert adapter_norm(run.folder) > 0


def test_a_generator_that_is_closed_before_the_first_step_leaves_nothing(lora_recipe: Recipe, tmp_path: Path) -> None:
    with closing(perform(lora_recipe, tmp_path / "run")) as events:
        assert isinstance(next(events), Started)
    assert not list(tmp_path.iterdir())


def test_a_run_that_fails_keeps_what_it_had_and_says_that_it_failed(
    lora_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The learning rate of the third step is no number, so that the loss of the fourth is none."""
    usual = "ftdemo.training.loop.learning_rate"
    monkeypatch.setattr(usual, lambda _recipe, step, _total: float("nan") if step == 3 else 1e-3)
    with pytest.raises(TrainingError, match="loss of step 4 is nan"):
        list(perform(lora_recipe, tmp_path / "run"))
    run = Run.load(tmp_path / "run")
    assert run.record["status"] == "failed"
    assert run.record["steps"] == 3


def test_a_folder_that_is_there_is_left_alone(lora_recipe: Recipe, tmp_path: Path) -> None:
    kept = tmp_path / "run" / "mine.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(UsageError, match=r"(?s)already exists.*--out"):
        next(perform(lora_recipe, tmp_path / "run"))
    assert [path.name for path in kept.parent.iterdir()] == ["mine.txt"]


def test_a_full_disk_leaves_nothing_half_written_and_rescues_the_run(
    lora_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/dev/full stands in for a full disk: the system itself answers every write with ENOSPC."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    out = tmp_path / "disk" / "run"
    events = perform(lora_recipe.with_settings({"max_steps": 1, "sample_prompts": 0}), out)
    first_step(events)
    write_text = Path.write_text

    def write_to_full_disk(path: Path, *args: Any, **kwargs: Any) -> int:
        return write_text(Path("/dev/full") if "disk" in path.parts else path, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", write_to_full_disk)
    with pytest.raises(StorageError, match=r"(?s)could not be written.*the disk is full.*It was kept in"):
        list(events)
    monkeypatch.undo()
    assert list(out.parent.iterdir()) == []
    (rescued,) = elsewhere.glob("*/run")
    assert Run.load(rescued).record["steps"] == 1
    assert adapter_norm(rescued) > 0


def test_a_disk_that_fills_up_while_a_checkpoint_is_written_leaves_the_one_before(
    lora_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))  # no room for a rescue either
    out = tmp_path / "disk" / "run"
    events = perform(lora_recipe.with_settings({"save_every": 2}), out)
    for event in events:
        if isinstance(event, Step) and event.step == 3:
            break
    write_text = Path.write_text
    monkeypatch.setattr(Path, "write_text", lambda _path, *args, **kwargs: write_text(Path("/dev/full"), *args))
    with pytest.raises(
        StorageError, match=r"(?s)the disk is full.*no disk space in the system's temporary folder either"
    ):
        list(events)
    monkeypatch.undo()
    assert [path.name for path in out.parent.iterdir()] == ["run"]
    assert Run.load(out).record["status"] == "running"
    assert Run.load(out).record["steps"] == 2


def refuse_weights(monkeypatch: pytest.MonkeyPatch, disk: Path) -> None:
    """No weights can be written below a folder, for which safetensors has an exception of its own."""
    save_model = save.save_model

    def refuse(learner: Learner, folder: Path, weights: Any = None) -> None:
        if disk in folder.parents:
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        save_model(learner, folder, weights)

    monkeypatch.setattr(save, "save_model", refuse)


@pytest.mark.parametrize("settings", [{}, {"save_every": 2}])
def test_weights_that_no_longer_fit_on_the_disk_are_rescued_once(
    lora_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    refuse_weights(monkeypatch, tmp_path / "disk")
    with pytest.raises(StorageError, match=r"(?s)could not be written.*the disk is full") as caught:
        list(perform(lora_recipe.with_settings(settings), tmp_path / "disk" / "run"))
    assert list((tmp_path / "disk").iterdir()) == []
    (rescued,) = elsewhere.glob("*/run")
    assert f"It was kept in {rescued}." in caught.value.remedy
    assert Run.load(rescued).record["steps"] == settings.get("save_every", 6)
    assert adapter_norm(rescued) > 0


def test_a_stopped_run_is_kept_without_its_checkpoint_where_that_has_no_room(
    lora_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_checkpoint", refuse)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(StorageError, match=r"It was kept in .*run\. It cannot be resumed"):
        interrupted(lora_recipe, tmp_path / "disk" / "run", after=2)
    (rescued,) = (tmp_path / "disk").glob("*/run")
    assert Run.load(rescued).record["steps"] == 2


def test_a_run_that_ctrl_c_breaks_off_while_it_is_written_is_written_again(
    lora_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model = save.save_model

    def interrupt(*_: object) -> None:
        monkeypatch.setattr(save, "save_model", save_model)
        raise KeyboardInterrupt

    monkeypatch.setattr(save, "save_model", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(perform(lora_recipe, tmp_path / "run"))
    assert Run.load(tmp_path / "run").record["status"] == "completed"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def put_something(folder: Path) -> None:
    folder.mkdir()
    (folder / "mine.txt").write_text("mine", encoding="utf-8")


def test_a_folder_that_appears_during_training_is_left_alone_and_the_run_is_kept_beside_it(
    lora_recipe: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    events = perform(lora_recipe, out)
    first_step(events)
    put_something(out)
    with pytest.raises(StorageError, match=r"(?s)another file or folder has appeared there.*It was kept in") as caught:
        list(events)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    (kept,) = tmp_path.glob("ftdemo-rescued-*/run")
    assert str(kept) in caught.value.remedy
    assert Run.load(kept).record["status"] == "completed"


def test_a_folder_that_takes_the_place_of_a_checkpoint_is_left_alone(lora_recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "run"
    events = perform(lora_recipe.with_settings({"save_every": 2}), out)
    next(event for event in events if isinstance(event, Step) and event.step == 3)
    out.rename(tmp_path / "checkpoint")
    put_something(out)
    with pytest.raises(StorageError, match="another file or folder has appeared there"):
        list(events)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    assert Run.load(tmp_path / "checkpoint").record["steps"] == 2


def test_what_others_put_into_a_stopped_run_is_there_after_it_was_resumed(lora_recipe: Recipe, tmp_path: Path) -> None:
    run = interrupted(lora_recipe, tmp_path / "run", after=2)
    (run.folder / "notes").mkdir()
    (run.folder / "notes" / "mine.txt").write_text("mine", encoding="utf-8")
    (run.folder / "loss.png").write_bytes(b"picture")
    resumed = carried_out(run.recipe, run.folder, resume=run)
    assert resumed.record["status"] == "completed"
    assert (run.folder / "notes" / "mine.txt").read_text(encoding="utf-8") == "mine"
    assert (run.folder / "loss.png").read_bytes() == b"picture"
    assert not (run.folder / checkpoint.FILE).exists()


@pytest.mark.parametrize(
    ("settings", "copies"), [({}, 1), ({"save_every": 2}, 2 * 4), ({"save_every": 2, "patience": 1}, 2 * 5)]
)
def test_a_run_asks_before_its_first_step_for_the_room_that_it_needs(
    lora_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], copies: int
) -> None:
    """An adapter in float32; in each of two checkpoints also its two moments and, with `patience`, its best weights."""
    monkeypatch.setattr("ftdemo.runs.perform._RECORD_BYTES", 0)
    tokenizer = (Path(lora_recipe.model) / "tokenizer.json").stat().st_size * (2 if settings else 1)
    needed, usage = copies * 4 * 18_944 + tokenizer, shutil.disk_usage(tmp_path)
    begin = partial(perform, lora_recipe.with_settings(settings), tmp_path / "run")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=int(needed * 0.9)))
    with pytest.raises(StorageError, match=r"This run needs about \d MB, but the disk that holds .* has \d MB left"):
        next(begin())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=int(needed * 1.1)))
    assert isinstance(next(begin()), Started)


# The base of an adapter


def changed_base(lora_run: Run, folder: Path) -> Path:
    """A copy of the adapter's base, all of whose weights are a little larger."""
    from transformers import AutoModelForCausalLM

    shutil.copytree(lora_run.recipe.model, folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.01)
    model.save_pretrained(folder)
    return folder


def test_an_adapter_refuses_other_weights_than_it_was_trained_on_and_says_which(lora_run: Run, tmp_path: Path) -> None:
    sha256 = lora_run.record["model"]["sha256"]
    other = changed_base(lora_run, tmp_path / "louder")
    with pytest.raises(UsageError, match=rf"(?s)trained on other weights of louder than those found here.*{sha256}"):
        lora_run.load_model(base=str(other))


def test_an_adapter_refuses_a_base_with_another_vocabulary_and_says_which(lora_run: Run, tmp_path: Path) -> None:
    other = changed_base(lora_run, tmp_path / "wordier")
    tokenizer = models.load_tokenizer(models.resolve(str(other)))
    tokenizer.add_tokens(["starboard"])
    tokenizer.save_pretrained(other)
    name = lora_run.record["model"]["name"]
    with pytest.raises(UsageError, match=rf"(?s)trained on {name}, whose vocabulary is not that of wordier.*another"):
        lora_run.load_model(base=str(other))


def test_an_adapter_takes_its_base_from_another_place(lora_run: Run, tmp_path: Path) -> None:
    copy = shutil.copytree(lora_run.recipe.model, tmp_path / "copy")
    here, elsewhere = lora_run.load_model()[0], lora_run.load_model(base=str(copy))[0]
    ids = torch.arange(8)[None]
    assert torch.equal(here(input_ids=ids).logits, elsewhere(input_ids=ids).logits)


def test_a_record_without_a_vocabulary_still_guards_the_weights(lora_run: Run, tmp_path: Path) -> None:
    """Records of version 1 name the weights alone."""
    model = {key: value for key, value in lora_run.record["model"].items() if key != "vocabulary"}
    old = Run(lora_run.folder, {**lora_run.record, "version": 1, "model": model})
    assert old.load_model()
    with pytest.raises(UsageError, match="trained on other weights"):
        old.load_model(base=str(changed_base(lora_run, tmp_path / "louder")))


def test_the_model_before_training_can_be_had_where_it_was_not_random(
    lora_run: Run, chat_run: Run, probe_run: Run
) -> None:
    loaded = lora_run.load_base()
    assert loaded is not None
    rows = prepare(lora_run.recipe).splits.heldout
    before, _after = lora_run.samples()
    assert before is not None
    assert answer_rows(*loaded, rows) == before.answers
    assert chat_run.load_base() is None
    assert probe_run.load_base() is None


# Data and baselines


def test_a_file_of_the_users_is_trained_on_and_judged_without_a_checker(lora_recipe: Recipe, tmp_path: Path) -> None:
    rows = [{"prompt": f"What is {n}?", "completion": f"It is {n}, said the quay."} for n in range(12)]
    file = write_rows(tmp_path / "mine.jsonl", rows)
    list(perform(lora_recipe.with_settings({"data": str(file), "max_steps": 1}), tmp_path / "run"))
    record = Run.load(tmp_path / "run").record
    assert record["scores"]["after"].keys() == {"stopped", "exact_match"}


def test_a_baseline_that_was_measured_before_is_used_again(lora_recipe: Recipe, tmp_path: Path) -> None:
    baseline = tuple(measure_baseline(prepare(lora_recipe)))
    assert [type(event) for event in baseline] == [Evaluated, Sampled]
    events = list(perform(lora_recipe, tmp_path / "run", baseline=baseline))
    assert events[1] is baseline[0]
    assert events[2] is baseline[1]


def test_data_too_short_to_hold_rows_out_is_trained_without_judgement(lora_recipe: Recipe, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "few.jsonl", [{"prompt": "Free?", "completion": "Aye."}] * 8)
    kinds = [type(event) for event in perform(lora_recipe.with_settings({"data": str(file)}), tmp_path / "run")]
    assert kinds == [Started, *[Step] * 6, Finished]
    record = Run.load(tmp_path / "run").record
    assert record["scores"] == {}
    assert record["heldout_loss"] == {}


def test_a_classifiers_record_names_its_labels(probe_run: Run) -> None:
    assert probe_run.labels == (
        "account",
        "advice",
        "business",
        "delivery",
        "payments",
        "returns",
        "warranty",
        "website",
    )
    assert probe_run.record["scores"]["after"].keys() == {"accuracy", "macro_f1"}
