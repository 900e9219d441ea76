"""What a run leaves on disk, read by others: plain transformers, PEFT and the Hub."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from conftest import carried_out
from safetensors.torch import load_file

from ftdemo.cli.main import main
from ftdemo.data import Row, Turn
from ftdemo.data.batches import collate
from ftdemo.data.tokenize import render
from ftdemo.errors import ModelError, StorageError, UsageError
from ftdemo.evaluation.evaluate import classify
from ftdemo.evaluation.generate import answer_rows
from ftdemo.events import Answer, Event, Sampled
from ftdemo.models import load as models
from ftdemo.models.layers import precision
from ftdemo.recipe import Recipe
from ftdemo.runs.adapters import merge_and_compare
from ftdemo.runs.perform import perform
from ftdemo.runs.publish import last_logits, release
from ftdemo.runs.run import Run
from ftdemo.runs.save import model_bytes, model_card, without_folders
from ftdemo.training.learner import Learner
from ftdemo.training.loop import train
from ftdemo.training.prepare import prepare

METHODS = ["full", "lora", "dora", "qlora", "scratch", "probe", "classify"]
TALK = [Turn("system", "Be brief."), Turn("user", "Is it open?"), Turn("assistant", "Aye."), Turn("user", "Today?")]
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


@dataclass(frozen=True)
class Done:
    """A run on disk, and the same run carried out once more in memory."""

    run: Run
    events: list[Event]
    learner: Learner

    @property
    def method(self) -> str:
        return str(self.run.recipe.method)


class Runs(dict[str, Done]):
    """A run of each method, carried out when it is first asked for."""

    def __init__(self, recipes: dict[str, Recipe], folder: Path) -> None:
        super().__init__()
        self._recipes, self._folder = recipes, folder

    def __missing__(self, method: str) -> Done:
        recipe, folder = self._recipes[method].with_settings({"method": method, "max_steps": 3}), self._folder / method
        events = list(perform(recipe, folder))
        learner = prepare(recipe)
        for _ in train(recipe, learner):
            pass
        learner.model.eval()
        self[method] = Done(Run.load(folder), events, learner)
        return self[method]


@pytest.fixture(scope="module")
def done_by(
    chat_recipe: Recipe, lora_recipe: Recipe, probe_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> Runs:
    special = {
        "scratch": chat_recipe,
        "probe": probe_recipe,
        "classify": probe_recipe.with_settings({"lr": 2e-4}),
    }
    recipes = {method: special.get(method, lora_recipe) for method in METHODS}
    return Runs(recipes, tmp_path_factory.mktemp("runs"))


def _needs_bitsandbytes(method: str) -> None:
    if method == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("qlora needs bitsandbytes, which is not installed")


@pytest.fixture(params=METHODS)
def done(request: pytest.FixtureRequest, done_by: Runs) -> Done:
    _needs_bitsandbytes(request.param)
    return done_by[request.param]


def loaded_by_others(done: Done) -> tuple[Any, Any]:
    """Model and tokenizer, by transformers and PEFT alone."""
    import transformers
    from peft import PeftModel

    hf: Any = transformers
    folder, settings = done.run.folder, {}
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    if done.method in ("probe", "classify"):
        return pooled_as_the_card_says(hf.AutoModelForSequenceClassification.from_pretrained(folder).eval()), tokenizer
    if done.method in ("full", "scratch"):
        return hf.AutoModelForCausalLM.from_pretrained(folder).eval(), tokenizer
    if done.method == "qlora":
        four_bits = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
        settings["quantization_config"] = hf.BitsAndBytesConfig(**four_bits)
    base = hf.AutoModelForCausalLM.from_pretrained(done.run.recipe.model, **settings)
    model = PeftModel.from_pretrained(base, folder)
    # In eval mode bitsandbytes computes in bfloat16 on some processors. No layer here has dropout.
    return model.train(done.method == "qlora"), tokenizer


def pooled_as_the_card_says(model: Any) -> Any:
    def forward(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        tokens = model.base_model(input_ids, attention_mask=attention_mask).last_hidden_state
        mean = (tokens * attention_mask[..., None]).sum(1) / attention_mask.sum(1, keepdim=True)
        return SimpleNamespace(logits=model.classifier(mean))

    model.forward = forward
    return model


def logits(model: Any, learner: Learner) -> torch.Tensor:
    """At every position of the held-out rows, or of each of their classes."""
    examples = [learner.heldout[place] for place in range(4)]
    batch = collate(examples, learner.tokenizer.pad_token_id)
    with torch.no_grad():
        found: torch.Tensor = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    return found if learner.labels else found[batch.attention_mask.bool()]


def test_what_others_load_gives_the_logits_of_the_run_in_memory(done: Done) -> None:
    model, _tokenizer = loaded_by_others(done)
    # float32, on logits near 10, by another attention kernel
    assert torch.allclose(logits(model, done.learner), logits(done.learner.model, done.learner), atol=1e-4)


def test_what_we_load_gives_the_logits_of_the_run_in_memory(done: Done) -> None:
    model, _tokenizer = done.run.load_model()
    assert not model.training
    assert torch.allclose(logits(model, done.learner), logits(done.learner.model, done.learner), atol=1e-4)


def test_what_others_load_answers_as_the_run_did(done: Done) -> None:
    recorded = [event for event in done.events if isinstance(event, Sampled)][-1].answers
    model, tokenizer = loaded_by_others(done)
    model.eval()
    found: tuple[Answer, ...]
    if done.learner.labels:
        labels = [model.config.id2label[number] for number in range(len(done.learner.labels))]
        found = classify(model, tokenizer, done.learner.splits.heldout, labels)
    elif done.method == "qlora":
        found = answer_rows(*done.run.load_model(), done.learner.splits.heldout)  # see `loaded_by_others`
    else:
        found = answer_rows(model, tokenizer, done.learner.splits.heldout)
    assert found == recorded


def test_the_files_go_by_the_names_that_others_expect(done: Done) -> None:
    files = {path.name for path in done.run.folder.iterdir()}
    expected = {"run.json", "recipe.yaml", "README.md", "tokenizer.json", "tokenizer_config.json"}
    if done.run.recipe.is_low_rank:
        expected |= {"adapter_config.json", "adapter_model.safetensors", "chat_template.jinja"}
    elif done.run.recipe.is_classifier:
        expected |= {"config.json", "model.safetensors"}
    else:
        expected |= {"config.json", "model.safetensors", "generation_config.json", "chat_template.jinja"}
    assert files == expected
    assert Recipe.from_yaml(done.run.folder / "recipe.yaml") == done.run.recipe


def test_weights_are_saved_in_float32_and_those_of_an_adapter_alone(done: Done) -> None:
    name = "adapter_model.safetensors" if done.run.recipe.is_low_rank else "model.safetensors"
    saved = load_file(done.run.folder / name)
    assert {weight.dtype for weight in saved.values()} <= {torch.float32, torch.int64}
    if done.run.recipe.is_low_rank:
        assert all("lora_" in name for name in saved)
        trained = sum(weight.numel() for weight in done.learner.trainable.values())
        assert sum(weight.numel() for weight in saved.values()) == trained


def test_the_bytes_that_a_run_asks_for_are_those_that_it_writes(done: Done) -> None:
    """But for what is no weight: names and shapes of the tensors, indentation of the tokenizer."""
    written = sum(path.stat().st_size for path in done.run.folder.glob("*.safetensors"))
    tokenizer = (done.run.folder / "tokenizer.json").stat().st_size
    predicted = model_bytes(done.learner)
    assert 0.95 * (written + tokenizer) - 10_000 < predicted <= written + tokenizer


def test_the_model_card_has_metadata_that_the_hub_accepts(done: Done) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(done.run.folder / "README.md")
    assert card.data.library_name == ("peft" if done.run.recipe.is_low_rank else "transformers")
    assert card.data.pipeline_tag == ("text-classification" if done.learner.labels else "text-generation")
    assert card.data.base_model == (None if done.method == "scratch" else done.learner.source.name)
    assert card.data.tags[:2] == [done.method, "ftdemo"]
    assert yaml.safe_load(str(card.data))


def test_the_model_card_says_what_it_is_how_good_and_how_to_load_it(done: Done) -> None:
    card = (done.run.folder / "README.md").read_text(encoding="utf-8")
    assert "{" not in card.partition("```python")[0]
    assert f"Status: completed after {done.run.record['steps']} steps" in card
    assert ("PeftModel" if done.run.recipe.is_low_rank else "AutoModelFor") in card
    for name in done.run.record["scores"]["after"]:
        assert f"| {name} |" in card


def test_a_card_without_scores_says_so(quick_run: Run) -> None:
    assert "No scores were measured." in model_card(quick_run.record | {"scores": {}})


# An adapter on a real model


def test_the_card_of_an_adapter_names_its_base_and_licence(quick_run: Run) -> None:
    from huggingface_hub import ModelCard

    card = ModelCard.load(quick_run.folder / "README.md")
    assert card.data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert card.data.license == "apache-2.0"


def test_the_card_of_an_adapter_for_a_bundled_model_has_code_that_runs(tmp_path: Path) -> None:
    recipe = Recipe(method="lora", model="tiny", max_steps=1, examples=8, sample_prompts=0, max_length=128)
    list(perform(recipe, tmp_path / "run"))
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    code = card.partition("```python\n")[2].partition("```")[0].replace("path/to/this/folder", str(tmp_path / "run"))
    told = "print(type(model).__name__, len(tokenizer))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{told}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "PeftModelForCausalLM 2048\n"


@pytest.mark.parametrize(("model", "base"), [("smollm2", '"owner/name"'), ("runs/mine", '"path/to/mine"')])
def test_a_card_names_a_base_by_its_hub_id_or_its_folder(quick_run: Run, model: str, base: str) -> None:
    record = quick_run.record
    name = base.strip('"').removeprefix("path/to/")
    changed = record | {"recipe": record["recipe"] | {"model": model}, "model": record["model"] | {"name": name}}
    assert f"from_pretrained({base})" in model_card(changed)


def test_the_adapter_holds_adapter_weights_alone(quick_run: Run) -> None:
    weights = load_file(quick_run.folder / "adapter_model.safetensors")
    assert all(".lora_A." in name or ".lora_B." in name for name in weights)
    assert sum(weight.numel() for weight in weights.values()) == 2_442_240


def test_no_file_names_a_path_of_this_machine(quick_run: Run, smollm2: models.Source) -> None:
    for path in (*quick_run.folder.glob("*.json"), *quick_run.folder.glob("*.md")):
        assert smollm2.path not in path.read_text(encoding="utf-8")


def test_plain_peft_loads_the_adapter_without_ftdemo(quick_run: Run, smollm2: models.Source) -> None:
    command = [sys.executable, "-c", LOAD_IN_PLAIN_PEFT, smollm2.path, str(quick_run.folder)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    loaded = json.loads(done.stdout.strip().splitlines()[-1])
    model, tokenizer = quick_run.load_model()
    text = render([Turn("user", "Is it open?")], tokenizer, to_be_answered=True)
    with torch.no_grad():
        logits = model(**tokenizer(text, return_tensors="pt", add_special_tokens=False)).logits[0, -1]
    assert not loaded["ftdemo"]
    assert loaded["logits"] == pytest.approx(logits[:50].tolist(), abs=1e-4)


def test_merged_and_unmerged_logits_agree(quick_run: Run, tokenizer: Any) -> None:
    model, _ = quick_run.load_model()
    batch = collate(prepare(quick_run.recipe).train[:2], tokenizer.pad_token_id)
    with torch.no_grad():
        unmerged = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        with model.disable_adapter():
            base_logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        merged = model.merge_and_unload()(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    difference = (merged - unmerged)[batch.loss_positions].abs().max().item()
    print(f"largest logit difference where an answer is predicted, merged against unmerged: {difference:.1e}")
    # Logits reach 40, and two attention kernels on the same weights already differ by 7e-5.
    assert difference < 1e-4
    assert (unmerged - base_logits)[batch.loss_positions].abs().max() > 0.1  # the adapter does something


def test_a_merged_dora_gives_the_logits_of_the_adapter(lora_recipe: Recipe, tmp_path: Path) -> None:
    for _ in perform(lora_recipe.with_settings({"method": "dora"}), tmp_path / "run"):
        pass
    run = Run.load(tmp_path / "run")
    learner = prepare(run.recipe)
    model, _ = run.load_model()
    unmerged = logits(model, learner)
    difference = (logits(model.merge_and_unload(), learner) - unmerged).abs().max().item()
    print(f"largest logit difference, merged DoRA against unmerged: {difference:.1e}")
    assert difference < 1e-4


# The chat template


def test_the_chat_template_of_an_adapter_is_that_of_its_base(quick_run: Run, tokenizer: Any) -> None:
    _, reloaded = quick_run.load_model()
    for unfinished in (False, True):
        assert render(TALK, reloaded, to_be_answered=unfinished) == render(TALK, tokenizer, to_be_answered=unfinished)
    assert reloaded(render(TALK, reloaded))["input_ids"] == tokenizer(render(TALK, tokenizer))["input_ids"]


def test_the_chat_template_of_a_new_model_is_the_one_it_was_trained_with(chat_run: Run, chat_recipe: Recipe) -> None:
    trained_with = prepare(chat_recipe).tokenizer
    _, reloaded = chat_run.load_model()
    for unfinished in (False, True):
        expected = render(TALK, trained_with, to_be_answered=unfinished)
        assert render(TALK, reloaded, to_be_answered=unfinished) == expected
        assert reloaded(expected)["input_ids"] == trained_with(expected)["input_ids"]
    assert (reloaded.eos_token, reloaded.pad_token) == (trained_with.eos_token, trained_with.pad_token)
    assert models.vocabulary_hash(reloaded) == models.vocabulary_hash(trained_with)


def test_a_new_model_answers_after_reloading_as_before(chat_run: Run) -> None:
    before_and_after = [event for event in chat_run.events if isinstance(event, Sampled)]
    recorded = before_and_after[-1].answers
    rows = [
        Row(number, (Turn("user", answer.prompt), Turn("assistant", answer.reference)))
        for number, answer in enumerate(recorded, 1)
    ]
    assert answer_rows(*chat_run.load_model(), rows) == recorded


# Released for others


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_a_merged_release_gives_the_logits_of_the_run_without_ftdemo_and_peft(
    done_by: Runs, method: str, tmp_path: Path
) -> None:
    _needs_bitsandbytes(method)
    run = done_by[method].run
    released = release(run, tmp_path / "merged", "merged")
    # The run's own model in float32; merged, the products are added in another order. Logits reach some 5 here.
    assert released.largest_difference < 1e-4 * max(1.0, released.largest_logit)
    names = {path.name for path in released.folder.iterdir()}
    assert names >= {"config.json", "model.safetensors", "generation_config.json", "chat_template.jinja", "README.md"}
    assert not any(name.startswith("adapter") for name in names)
    assert "quantization_config" not in json.loads((released.folder / "config.json").read_text(encoding="utf-8"))
    settings = json.loads((released.folder / "generation_config.json").read_text(encoding="utf-8"))
    assert settings["eos_token_id"] == done_by[method].learner.tokenizer.eos_token_id


def test_a_qlora_update_fits_the_unpacked_weights_and_not_the_original_ones(done_by: Runs, tmp_path: Path) -> None:
    from peft import PeftModel

    _needs_bitsandbytes("qlora")
    done = done_by["qlora"]
    merged = release(done.run, tmp_path / "merged", "merged").folder
    plain = models.load_saved(models.resolve(done.run.recipe.model), dtype=torch.float32)
    wrong = PeftModel.from_pretrained(plain, done.run.folder).merge_and_unload()
    right = models.load_saved(models.resolve(str(merged)), dtype=torch.float32)
    apart = max((a - b).abs().max().item() for a, b in zip(right.parameters(), wrong.parameters(), strict=True))
    assert apart > 1e-3  # what 4 bits round away


@pytest.mark.parametrize("targets", [("lm_head",), ("embed_tokens",), ("embed_tokens", "lm_head", "q_proj")])
def test_an_adapter_on_a_shared_matrix_is_merged_where_it_belongs(
    targets: tuple[str, ...], lora_recipe: Recipe, tmp_path: Path
) -> None:
    run = carried_out(lora_recipe.with_settings({"targets": targets}), tmp_path / "run")
    arguments = ["export", str(run.folder), "--to", "merged", "--out", str(tmp_path / "merged")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "Embedding and head are now two separate matrices" in done.output
    weights = load_file(tmp_path / "merged" / "model.safetensors")
    assert not torch.equal(weights["lm_head.weight"], weights["model.embed_tokens.weight"])
    before = load_file(Path(run.recipe.model) / "model.safetensors")["model.embed_tokens.weight"]
    for target, name in {"lm_head": "lm_head.weight", "embed_tokens": "model.embed_tokens.weight"}.items():
        assert torch.equal(weights[name], before) is (target not in targets)
    compared = merge_and_compare(run)
    assert compared["same"] == compared["asked"]
    assert compared["largest_difference"] < 1e-4 * compared["largest_logit"]


def test_a_release_whose_logits_are_others_is_refused_and_leaves_nothing(
    lora_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def merge_wrongly(adapted: Any) -> Any:
        merged = adapted.merge_and_unload()
        with torch.no_grad():
            merged.get_output_embeddings().weight.mul_(1.5)
        return merged

    monkeypatch.setattr("ftdemo.runs.publish.merge_adapter", merge_wrongly)
    arguments = ["export", str(lora_run.folder), "--to", "merged", "--out", str(tmp_path / "wrong")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 1
    assert f"{tmp_path / 'wrong'} is not written: loaded by plain libraries, its logits differ" in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_beside_4_bits_is_released_for_4_bits_and_its_card_loads_it_so(
    dtype: str, lora_recipe: Recipe, tmp_path: Path
) -> None:
    _needs_bitsandbytes("qlora")
    # bitsandbytes packs 4-bit weights for some processors: it then wants rows of a multiple of 64, as tiny's are, and
    # multiplies in bfloat16. Without the same 4 bits, the difference would be a third of the largest logit.
    settings = {"method": "qlora", "model": "tiny", "dtype": dtype, "max_steps": 2, "sample_prompts": 0}
    run = carried_out(lora_recipe.with_settings(settings), tmp_path / "run")
    released = release(run, tmp_path / "adapter", "adapter")
    assert released.largest_difference < {"float32": 1e-4, "bfloat16": 0.1}[dtype] * released.largest_logit
    code = (released.folder / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    assert f"bnb_4bit_compute_dtype=torch.{dtype}" in code
    code = code.replace("path/to/this/folder", str(released.folder))
    loaded: dict[str, Any] = {}
    exec(code, loaded)
    own, tokenizer = run.load_model()
    with precision(own):
        ours = last_logits(own, tokenizer, ["Where is my rope?"])
    theirs = last_logits(loaded["model"], loaded["tokenizer"], ["Where is my rope?"])
    assert (ours - theirs).abs().max() < 0.1 * ours.abs().max()


@pytest.fixture(scope="module")
def in_few_bits(chat_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose files hold 4-bit weights."""
    _needs_bitsandbytes("qlora")
    folder = tmp_path_factory.mktemp("models") / "four-bits"
    source = models.resolve(str(chat_run.folder))
    models.load_quantized(source, torch.float32, torch.device("cpu")).save_pretrained(folder)
    models.load_tokenizer(source).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_an_adapter_on_a_model_whose_files_hold_few_bits_is_merged_into_what_they_stand_for(
    method: str, in_few_bits: Path, lora_recipe: Recipe, tmp_path: Path
) -> None:
    settings = {"method": method, "model": str(in_few_bits), "max_steps": 2, "sample_prompts": 0}
    run = carried_out(lora_recipe.with_settings(settings), tmp_path / "run")
    for form in ("merged", "adapter"):
        released = release(run, tmp_path / form, form)
        assert released.largest_difference < 1e-4 * max(1.0, released.largest_logit)
    assert load_file(tmp_path / "merged" / "model.safetensors")["model.embed_tokens.weight"].dtype == torch.float32
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text(encoding="utf-8"))
    assert merge_and_compare(run)["largest_difference"] < 1e-3


def test_weights_in_few_bits_are_not_all_trained(in_few_bits: Path, lora_recipe: Recipe) -> None:
    settings = {"method": "full", "model": str(in_few_bits), "lr": None}
    with pytest.raises(ModelError, match=r"weights are quantized, so they cannot be trained(?s:.*)method: lora"):
        prepare(lora_recipe.with_settings(settings))


def test_an_adapter_release_is_what_plain_peft_loads_with_its_stop_tokens_and_recipe(
    done_by: Runs, tmp_path: Path
) -> None:
    done = done_by["lora"]
    released = release(done.run, tmp_path / "adapter", "adapter", test_old_skill=True)
    assert released.largest_difference < 1e-4 * max(1.0, released.largest_logit)
    names = {path.name for path in released.folder.iterdir()}
    assert names >= {"adapter_config.json", "adapter_model.safetensors", "generation_config.json", "recipe.yaml"}
    assert "run.json" not in names
    card = (released.folder / "README.md").read_text(encoding="utf-8")
    assert "| old skill | before | after |" in card
    assert Recipe.from_yaml(released.folder / "recipe.yaml") == without_folders(done.run.recipe)
    for path in released.folder.glob("*.[jmy]*"):
        assert str(Path(done.run.recipe.data).parent) not in path.read_text(encoding="utf-8")


def test_the_card_says_what_somebody_else_needs_to_repeat_the_run(lora_run: Run, chat_run: Run) -> None:
    data, model = Path(lora_run.recipe.data).name, Path(lora_run.recipe.model).name
    needed = f"where `data` names your copy of `{data}` and `model` names your copy of `{model}`."
    assert f"`ftdemo train recipe.yaml`, {needed}" in model_card(lora_run.record)
    assert f"`ftdemo train recipe.yaml`, where `data` names your copy of `{data}`." in model_card(chat_run.record)
    built_in = chat_run.record | {"recipe": chat_run.record["recipe"] | {"data": "short-tickets"}}
    assert "Repeat the run with `ftdemo train recipe.yaml`.\n" in model_card(built_in)


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_an_export_that_has_no_room_ends_with_a_sentence_and_leaves_nothing(
    lora_run: Run, tmp_path: Path, small_files: None, form: str
) -> None:
    result = CliRunner().invoke(main, ["export", str(lora_run.folder), "--to", form, "--out", str(tmp_path / "mine")])
    assert result.exit_code == 1
    assert f"{tmp_path / 'mine'} cannot be written: File too large." in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_merged_model_asks_for_the_room_that_it_needs(
    lora_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=400_000))  # it has 115,008 weights
    release(lora_run, tmp_path / "half", "merged", dtype="bfloat16")
    with pytest.raises(StorageError, match=r"The merged model needs about 0 MB, but .* has 0 MB left"):
        release(lora_run, tmp_path / "whole", "merged")


def test_a_whole_model_and_a_classifier_are_released_as_they_are(done_by: Runs, tmp_path: Path) -> None:
    for method in ("full", "classify"):
        released = release(done_by[method].run, tmp_path / method, "merged")
        assert released.largest_difference == 0.0
    with pytest.raises(UsageError, match="holds a whole model, not an adapter"):
        release(done_by["full"].run, tmp_path / "no", "adapter")
    assert not (tmp_path / "no").exists()


def test_the_card_of_a_merged_model_asks_for_no_peft(done_by: Runs) -> None:
    from huggingface_hub import ModelCard

    done = done_by["lora"]
    card = ModelCard(model_card(done.run.record, merged=True))
    assert card.data.library_name == "transformers"
    assert card.data.metrics == list(done.run.record["scores"]["after"])
    assert "PeftModel" not in card.text
    assert "with a LoRA adapter merged" in card.text


def test_the_shell_exports_and_says_how_far_it_is_from_the_run(lora_run: Run, tmp_path: Path) -> None:
    arguments = [
        "export",
        str(lora_run.folder),
        "--to",
        "merged",
        "--out",
        str(tmp_path / "mine"),
        "--dtype",
        "bfloat16",
    ]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "its logits differ from the run's by at most" in result.stdout
    assert f"hf upload OWNER/mine {tmp_path / 'mine'}" in result.stdout
    weights = load_file(tmp_path / "mine" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 2
    assert "already exists" in again.stderr
