"""Everything that is done with a model, done with models whose tokenizer or template is one of the common odd ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from awkward import GEMMA, changed_copy
from click.testing import CliRunner
from conftest import carried_out, write_rows
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma2Config, GPT2Config

from ftdemo.cli.main import main
from ftdemo.data.check import check_file
from ftdemo.errors import ModelError, RecipeError
from ftdemo.evaluation.evaluate import classify, evaluate
from ftdemo.models import load as models
from ftdemo.recipe import Recipe
from ftdemo.runs.chat_model import open_chat_model
from ftdemo.runs.publish import release
from ftdemo.runs.run import Run
from ftdemo.training.inspection import inspect_recipe
from ftdemo.training.prepare import load_rows, prepare

ODD: dict[str, dict[str, Any]] = {
    "no padding token, as in Llama": {"tokenizer": {"pad_token": None}, "settings": {"pad_token_id": None}},
    "another stop token than the template's, as in Gemma": {
        "tokenizer": {"pad_token": None, "eos_token": "<|endoftext|>"},
        "settings": {"eos_token_id": 0, "pad_token_id": None},
        "template": GEMMA,
    },
    "no stop token": {
        "tokenizer": {"pad_token": None, "eos_token": None},
        "settings": {"eos_token_id": None, "pad_token_id": None},
    },
}


@pytest.fixture(scope="module")
def with_system(tmp_path_factory: pytest.TempPathFactory, chats: Path) -> Path:
    """The chats, each with a system turn."""
    rows = [json.loads(line) for line in chats.read_text(encoding="utf-8").splitlines()]
    file: Path = tmp_path_factory.mktemp("data") / "system.jsonl"
    turns = [(("system", "Be brief."), ("user", row["prompt"]), ("assistant", row["completion"])) for row in rows]
    write_rows(file, [{"messages": [{"role": role, "content": text} for role, text in each]} for each in turns])
    return file


def recipe_for(model: Path, data: Path, method: str = "lora") -> Recipe:
    return Recipe(
        method=method,
        model=str(model),
        data=str(data),
        max_length=128,
        batch_tokens=512,
        dtype="float32",
        sample_prompts=2,
        max_steps=2,
        answer_tokens=8,
        eval_every=None,
    )


@pytest.mark.parametrize(("odd", "method"), [*((odd, "lora") for odd in ODD), (next(iter(ODD)), "full")])
def test_a_model_with_an_odd_tokenizer_is_trained_evaluated_exported_and_talked_to(
    odd: str, method: str, chat_run: Run, with_system: Path, tmp_path: Path
) -> None:
    model = changed_copy(chat_run.folder, tmp_path / "model", **ODD[odd])
    recipe = recipe_for(model, with_system, method)
    inspected = inspect_recipe(recipe)
    pieces = list(inspected.spans(inspected.examples[0]))
    assert "".join(text for text, trained in pieces if trained).endswith("<|im_end|>")
    assert "Be brief." in "".join(text for text, trained in pieces if not trained)
    report = check_file(with_system, models.load_tokenizer(models.resolve(str(model))))
    assert (report.good, report.left_out) == (40, 0)

    run: Run = carried_out(recipe, tmp_path / "run")
    measured = evaluate(*run.load_model(), load_rows(recipe).splits.heldout, data=recipe.data, answer_tokens=8)
    assert measured.heldout["loss"].value > 0
    exported = release(run, tmp_path / "merged", "merged")
    assert "".join(open_chat_model(str(run.folder)).reply("Where is my rug?"))
    assert "".join(open_chat_model(str(exported.folder)).reply("Where is my rug?"))
    settings = json.loads((exported.folder / "generation_config.json").read_text(encoding="utf-8"))
    assert settings["eos_token_id"] == ([2, 0] if ODD[odd].get("template") else 2)  # Gemma may end with either


GPT_2 = GPT2Config(vocab_size=320, n_embd=64, n_layer=2, n_head=2, n_positions=128, bos_token_id=0, eos_token_id=2)
"""Its layers are no `torch.nn.Linear`."""
GEMMA_2 = Gemma2Config(
    vocab_size=320,
    hidden_size=64,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=1,
    intermediate_size=128,
    head_dim=32,
    max_position_embeddings=128,
    bos_token_id=0,
    eos_token_id=2,
)
"""It has no fused attention."""


@pytest.mark.parametrize("config", [GPT_2, GEMMA_2], ids=lambda config: config.model_type)
def test_a_model_of_another_architecture_is_trained_exported_and_talked_to(
    config: Any, chat_run: Run, chats: Path, tmp_path: Path
) -> None:
    model = changed_copy(chat_run.folder, tmp_path / "model")
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(model)  # type: ignore[no-untyped-call]
    run: Run = carried_out(recipe_for(model, chats), tmp_path / "run")
    release(run, tmp_path / "merged", "merged")
    assert "".join(open_chat_model(str(run.folder)).reply("Where is my rug?"))


def test_packed_texts_are_refused_where_attention_cannot_tell_them_apart(
    chat_run: Run, chats: Path, tmp_path: Path
) -> None:
    model = changed_copy(chat_run.folder, tmp_path / "model")
    AutoModelForCausalLM.from_config(GEMMA_2).save_pretrained(model)  # type: ignore[no-untyped-call]
    with pytest.raises(RecipeError, match=r"cannot keep packed texts apart(?s:.*)packing: false"):
        prepare(recipe_for(model, chats).with_settings({"packing": True}))


# More tokens than the model has


@pytest.fixture(scope="module")
def grown(chat_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose tokenizer was given a word of its own and a token for padding, and which knows of neither."""
    folder: Path = changed_copy(chat_run.folder, tmp_path_factory.mktemp("models") / "grown")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["spinnaker"])
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    return folder


def test_a_row_that_a_template_does_not_take_is_a_finding(chat_run: Run, chats: Path, tmp_path: Path) -> None:
    toolless = "{% if tools %}{{ raise_exception('Tools are not supported') }}{% endif %}" + GEMMA
    model = changed_copy(chat_run.folder, tmp_path / "model", template=toolless)
    turns = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Two."}]
    tools = [{"type": "function", "function": {"name": "look"}}]
    data = tmp_path / "rows.jsonl"
    lines = chats.read_text(encoding="utf-8").splitlines()
    data.write_text("\n".join([*lines, json.dumps({"messages": turns, "tools": tools})]))
    done = CliRunner().invoke(main, ["check-data", str(data), "--model", str(model), "--fix", str(tmp_path / "fixed")])
    assert "1 example, that the model's chat template rejects" in done.output
    assert "Tools are not supported" in done.output
    assert len((tmp_path / "fixed").read_text(encoding="utf-8").splitlines()) == len(lines)


def test_tokens_that_no_row_uses_are_no_hindrance(grown: Path, chats: Path, tmp_path: Path) -> None:
    run: Run = carried_out(recipe_for(grown, chats), tmp_path / "run")
    assert run.record["status"] == "completed"
    assert "".join(open_chat_model(str(run.folder)).reply("Where is my rug?"))


@pytest.mark.parametrize("command", ["train", "inspect"])
def test_a_row_with_a_token_that_the_model_lacks_is_named(
    command: str, grown: Path, chats: Path, tmp_path: Path
) -> None:
    lines = chats.read_text(encoding="utf-8").replace("rug", "spinnaker").splitlines()
    data = write_rows(tmp_path / "rows.jsonl", list(map(json.loads, lines)))
    what = ["lora", "--data", str(data), "--out", str(tmp_path / "run")] if command == "train" else [str(data)]
    done = CliRunner().invoke(main, [command, *what, "--model", str(grown)])
    assert done.exit_code == 1
    assert "has the token spinnaker (320), but the model knows only 320 tokens." in done.output
    assert "Example " in done.output
    assert not (tmp_path / "run").exists()


def test_a_token_that_the_model_lacks_is_a_finding(grown: Path, chats: Path, tmp_path: Path) -> None:
    lines = chats.read_text(encoding="utf-8").splitlines()
    data = tmp_path / "rows.jsonl"
    data.write_text("\n".join([lines[0].replace("my", "your spinnaker"), *lines[1:]]), encoding="utf-8")
    done = CliRunner().invoke(main, ["check-data", str(data), "--model", str(grown), "--fix", str(tmp_path / "fixed")])
    assert f"1 example, with a token that {grown} has no embedding for" in done.output
    assert "spinnaker" in done.output
    assert len((tmp_path / "fixed").read_text(encoding="utf-8").splitlines()) == len(lines) - 1


def test_a_message_with_a_token_that_the_model_lacks_is_refused(grown: Path) -> None:
    chat = open_chat_model(str(grown))
    with pytest.raises(ModelError, match="The text has the token spinnaker"):
        "".join(chat.reply("Where is my spinnaker?"))


# Adapters of others


def adapter_with(
    base: Path, out: Path, chat_run: Run, *, words: int = 0, template: str = "", settings: dict[str, Any] | None = None
) -> Path:
    """An adapter of PEFT's on a base that was given `words` more tokens, saved with its tokenizer."""
    from peft import LoraConfig, get_peft_model

    tokenizer = AutoTokenizer.from_pretrained(chat_run.folder)
    tokenizer.add_tokens([f"spinnaker{number}" for number in range(words)])
    tokenizer.chat_template = template or tokenizer.chat_template
    model = AutoModelForCausalLM.from_pretrained(base)
    if words:
        model.resize_token_embeddings(len(tokenizer))
    torch.manual_seed(0)
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj"], init_lora_weights=False, **(settings or {})))
    adapted.save_pretrained(out, save_embedding_layers=bool(words) and not settings)
    tokenizer.save_pretrained(out)
    return out


def test_an_adapter_is_asked_in_its_own_template(chat_run: Run, tmp_path: Path) -> None:
    base = changed_copy(chat_run.folder, tmp_path / "base")
    folder = adapter_with(base, tmp_path / "adapter", chat_run, template=GEMMA)
    assert open_chat_model(str(folder), str(base)).tokenizer.chat_template == GEMMA
    (folder / "tokenizer_config.json").unlink()  # then the tokenizer is the base's, the template still the adapter's
    assert open_chat_model(str(folder), str(base)).tokenizer.chat_template == GEMMA
    (folder / "chat_template.jinja").unlink()
    chat = open_chat_model(str(folder), str(base))
    assert chat.tokenizer.chat_template == AutoTokenizer.from_pretrained(base).chat_template
    assert "".join(chat.reply("Where is my rug?"))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"modules_to_save": ["embed_tokens"]},
        {"trainable_token_indices": {"embed_tokens": [320, 321, 322]}},
    ],
    ids=["saved beside it", "trained whole", "trained one by one"],
)
def test_an_adapter_with_tokens_of_its_own_answers_with_them(
    settings: dict[str, Any], chat_run: Run, tmp_path: Path
) -> None:
    base = changed_copy(chat_run.folder, tmp_path / "base")
    folder = adapter_with(base, tmp_path / "adapter", chat_run, words=3, settings=settings)
    chat = open_chat_model(str(folder), str(base))
    assert chat.model.get_input_embeddings().weight.shape[0] == 323
    assert "".join(chat.reply("Where is my spinnaker2?"))


def test_an_adapter_of_another_base_is_refused_with_the_reason(chat_run: Run, tmp_path: Path) -> None:
    base = changed_copy(chat_run.folder, tmp_path / "base")
    folder = adapter_with(base, tmp_path / "adapter", chat_run)
    done = CliRunner().invoke(main, ["chat", str(folder), "--base", "tiny"], input="Hello\n")
    assert done.exit_code == 2
    assert "does not fit ftdemo-tiny: size mismatch for base_model.model" in done.output
    assert "--base" in done.output


def test_an_adapter_is_no_model_to_start_from(lora_run: Run, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["train", "lora", "--model", str(lora_run.folder), "--out", str(tmp_path / "run")])
    assert done.exit_code == 1
    assert "holds an adapter, not a whole model." in done.output


# Texts that are longer than a classifier reads


def test_a_classifier_is_trained_and_evaluated_on_texts_longer_than_it_reads(tmp_path: Path) -> None:
    rows = [{"text": ("rope " if n % 2 else "lamp ") * 700 + str(n), "label": "ab"[n % 2]} for n in range(12)]
    data = write_rows(tmp_path / "long.jsonl", rows)
    recipe = Recipe(method="probe", data=str(data), max_length=1024, max_steps=1, eval_every=None, dtype="float32")
    run: Run = carried_out(recipe, tmp_path / "run")
    heldout = load_rows(recipe).splits.heldout
    assert {answer.text for answer in classify(*run.load_model(), heldout, run.labels)} <= {"a", "b"}
    assert evaluate(*run.load_model(), heldout, data=str(data), max_length=1024, labels=run.labels).heldout["loss"]
