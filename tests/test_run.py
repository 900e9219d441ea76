from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import QUICK
from safetensors.torch import load_file

from ftdemo import models
from ftdemo.batches import collate
from ftdemo.errors import StorageError, UsageError
from ftdemo.events import Evaluated, Event, Finished, Sampled, Started, Step
from ftdemo.methods import prepare
from ftdemo.recipe import Recipe
from ftdemo.run import Run, perform

LOAD_IN_PLAIN_PEFT = """
import json, sys
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base, folder = sys.argv[1:]
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
tokenizer = AutoTokenizer.from_pretrained(folder)
messages = [{"role": "user", "content": "Is it open?"}]
text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
logits = model(**tokenizer(text, return_tensors="pt", add_special_tokens=False)).logits[0, -1]
print(json.dumps({"logits": logits[:50].tolist(), "ftdemo": "ftdemo" in sys.modules}))
"""


def test_a_run_yields_its_events_with_judgement_around_them(quick_events: list[Event]) -> None:
    kinds = [type(event) for event in quick_events]
    assert kinds == [Started, Evaluated, Sampled, Step, Step, Evaluated, Step, Step, Evaluated, Sampled, Finished]


def test_a_run_leaves_the_files_that_others_expect(quick_run: Run) -> None:
    assert {path.name for path in quick_run.folder.iterdir()} >= {
        "run.json",
        "recipe.yaml",
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    assert Recipe.from_yaml(quick_run.folder / "recipe.yaml") == QUICK


def test_the_record_holds_what_is_needed_to_repeat_the_run(quick_run: Run, quick_events: list[Event]) -> None:
    record = quick_run.record
    assert record["status"] == "completed"
    assert record["steps"] == 4
    assert record["recipe"]["seed"] == 0
    assert record["versions"].keys() >= {"ftdemo", "python", "torch", "transformers", "peft", "accelerate"}
    assert record["hardware"].keys() >= {"device", "device_name", "cores", "threads", "memory_bytes", "race_gflops"}
    assert len(record["model"]["sha256"]) == 64
    assert record["scores"].keys() == {"before", "after"}
    assert record["tokens_per_second"] == pytest.approx(record["tokens"] / record["seconds"])
    assert record["peak_memory_bytes"] > 500e6  # the float32 weights alone are 538 MB
    assert quick_run.events == quick_events


def test_the_record_names_no_path_of_this_machine(quick_run: Run, smollm2: models.Source) -> None:
    for path in quick_run.folder.glob("*.json"):
        assert smollm2.path not in path.read_text(encoding="utf-8")


def test_the_adapter_holds_adapter_weights_alone(quick_run: Run) -> None:
    weights = load_file(quick_run.folder / "adapter_model.safetensors")
    assert all(".lora_A." in name or ".lora_B." in name for name in weights)
    assert sum(weight.numel() for weight in weights.values()) == 2_442_240


def test_the_model_card_has_metadata_that_the_hub_accepts(quick_run: Run) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(quick_run.folder / "README.md")
    assert card.data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert card.data.library_name == "peft"
    assert card.data.license == "apache-2.0"
    assert yaml.safe_load(str(card.data))


def test_plain_peft_loads_the_adapter_without_ftdemo(quick_run: Run, smollm2: models.Source) -> None:
    command = [sys.executable, "-c", LOAD_IN_PLAIN_PEFT, smollm2.path, str(quick_run.folder)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    loaded = json.loads(done.stdout.strip().splitlines()[-1])
    model, tokenizer = quick_run.load_model()
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Is it open?"}], tokenize=False, add_generation_prompt=True
    )
    with torch.no_grad():
        logits = model(**tokenizer(text, return_tensors="pt", add_special_tokens=False)).logits[0, -1]
    assert not loaded["ftdemo"]
    assert loaded["logits"] == pytest.approx(logits[:50].tolist(), abs=1e-4)


def test_merged_and_unmerged_logits_agree(quick_run: Run) -> None:
    model, tokenizer = quick_run.load_model()
    batch = collate(prepare(QUICK).train[:2], tokenizer.pad_token_id)
    with torch.no_grad():
        unmerged = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        with model.disable_adapter():
            base_logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        merged = model.merge_and_unload()(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    difference = (merged - unmerged)[batch.predict].abs().max().item()
    print(f"largest logit difference where an answer is predicted, merged against unmerged: {difference:.1e}")
    # Logits reach 40, and two attention kernels on the same weights already differ by 7e-5.
    assert difference < 1e-4
    assert (unmerged - base_logits)[batch.predict].abs().max() > 0.1  # the adapter does something


def first_step(events: Any) -> Step:
    return next(event for event in events if isinstance(event, Step))


def test_a_stopped_run_keeps_its_adapter_and_is_judged(tmp_path: Path) -> None:
    stop = threading.Event()
    events = []
    for event in perform(QUICK, tmp_path / "run", stop=stop):
        events.append(event)
        if isinstance(event, Step):
            stop.set()
    run = Run.load(tmp_path / "run")
    assert [event.step for event in events if isinstance(event, Step)] == [1]
    assert events[-1] == run.events[-1]
    assert run.record["status"] == "stopped"
    assert run.record["scores"]["after"]
    assert adapter_norm(run.folder) > 0


def test_a_run_whose_generator_is_closed_keeps_its_adapter(tmp_path: Path) -> None:
    events = perform(QUICK.with_settings({"sample_prompts": 0}), tmp_path / "run")
    first_step(events)
    events.close()
    assert Run.load(tmp_path / "run").record["status"] == "stopped"
    assert adapter_norm(tmp_path / "run") > 0


def adapter_norm(folder: Path) -> float:
    """Sum of the norms of all B matrices, which are zero at the start."""
    weights = load_file(folder / "adapter_model.safetensors")
    return float(sum(weight.norm() for name, weight in weights.items() if ".lora_B." in name))


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "run" / "mine.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    with pytest.raises(UsageError, match=r"(?s)is there already.*--out"):
        next(perform(QUICK, tmp_path / "run"))
    assert [path.name for path in kept.parent.iterdir()] == ["mine.txt"]


def test_a_full_disk_leaves_nothing_half_written_and_rescues_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/dev/full stands in for a full disk: the system itself answers every write with ENOSPC."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    out = tmp_path / "disk" / "run"
    events = perform(QUICK.with_settings({"max_steps": 1, "sample_prompts": 0}), out)
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


def test_an_adapter_refuses_other_weights_than_it_was_trained_on(quick_run: Run, tmp_path: Path) -> None:
    record = {**quick_run.record, "model": {**quick_run.record["model"], "sha256": "0" * 64}}
    with pytest.raises(UsageError, match="trained on other weights"):
        Run(quick_run.folder, record).load_model()


def test_a_file_of_the_users_is_trained_on_and_judged_without_a_checker(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"What is {n}?", "completion": f"It is {n}, said the quay."} for n in range(12)]
    file.write_text("\n".join(map(json.dumps, rows)))
    recipe = QUICK.with_settings({"data": str(file), "max_steps": 1})
    list(perform(recipe, tmp_path / "run"))
    record = Run.load(tmp_path / "run").record
    assert record["scores"]["after"].keys() == {"stopped"}
