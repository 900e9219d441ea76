"""What a run leaves for others: an adapter or a model under the usual file names, the tokenizer, and a model card."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftdemo import __version__
from ftdemo.data import BUILT_IN
from ftdemo.evaluation.evaluate import with_interval
from ftdemo.methods import METHODS
from ftdemo.models.catalog import BUNDLED_MODELS, CATALOG
from ftdemo.recipe import Recipe
from ftdemo.runs.run import Run
from ftdemo.training import distributed
from ftdemo.training.learner import Learner

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def gather_weights(learner: Learner) -> dict[str, Any] | None:
    """The weights to write, whole, where a process holds only a shard of them. All processes have to call this.

    Returns:
        Weights by name; nothing where the model has them all.
    """
    if not distributed.has_sharded_weights(learner.model):
        return None
    weights = learner.model.state_dict(keep_vars=True)
    if learner.recipe.is_low_rank:
        weights = {name: weight for name, weight in weights.items() if weight.requires_grad}
    whole = {id(weight): distributed.gather_full(weight) for weight in {id(w): w for w in weights.values()}.values()}
    return {name: whole[id(weight)] for name, weight in weights.items()}  # tied weights stay one


def save_model(learner: Learner, folder: Path, weights: dict[str, Any] | None = None) -> None:
    """Write what was trained and the tokenizer with its chat template, for plain transformers and PEFT to load.

    An adapter goes to ``adapter_model.safetensors`` and ``adapter_config.json``, a whole model to
    ``model.safetensors`` and ``config.json``.

    Args:
        learner: What was trained.
        folder: Where to write.
        weights: What `gather_weights` gave, where the model does not have them all.
    """
    model = learner.model
    if learner.recipe.is_low_rank:
        config = model.peft_config["default"]
        config.base_model_name_or_path = learner.source.name  # its name in the world, not a path on this machine
        # The embedding is frozen, so it is not saved; "auto" would ask the Hub about it.
        model.save_pretrained(folder, state_dict=weights, save_embedding_layers=False)
    else:
        model.save_pretrained(folder, state_dict=weights)
    learner.tokenizer.save_pretrained(folder)


def model_bytes(learner: Learner) -> int:
    """What `save_model` will write, in bytes: an adapter or a whole model, each tied weight once, and the tokenizer."""
    from peft import get_peft_model_state_dict

    is_adapter = learner.recipe.is_low_rank
    model = learner.model
    saved = get_peft_model_state_dict(model, save_embedding_layers=False) if is_adapter else model.state_dict()
    weights: dict[int, int] = {weight.data_ptr(): weight.nbytes for weight in saved.values()}
    tokenizer = getattr(learner.tokenizer, "backend_tokenizer", None)
    return sum(weights.values()) + (len(tokenizer.to_str()) if tokenizer else 0)


def save_bundled(run: Run, folder: Path, name: str, record: dict[str, Any]) -> None:
    """Write a run's model as one that ships with ftdemo: weights in bfloat16, tokenizer, generation settings, a card.

    Args:
        run: The run that pre-trained it.
        folder: Where to write; what lies there is replaced.
        name: What the model is called.
        record: The experiment's record, whose claims the card shows.
    """
    import torch
    from transformers import GenerationConfig

    model, tokenizer = run.load_model()
    model = model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False,
        max_new_tokens=192,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(_bundled_card(run, model, name, record), encoding="utf-8")


def _bundled_card(run: Run, model: Any, name: str, record: dict[str, Any]) -> str:
    from huggingface_hub import ModelCardData

    recipe, trained = run.recipe, run.record
    metadata = ModelCardData(
        language=["en"],
        license="apache-2.0",
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["small-language-models", "pre-training", "teaching", "ftdemo"],
    )
    claims = "\n".join(
        f"| {claim['says']} | {with_interval(claim, '.3g')} | {claim['bound']} |" for claim in record.get("claims", [])
    )
    text = _BUNDLED_CARD.format(
        name=name,
        parameters=sum(weight.numel() for weight in model.parameters()),
        width=recipe.width,
        layers=recipe.layers,
        heads=model.config.num_attention_heads,
        vocabulary=recipe.vocabulary,
        length=recipe.max_length,
        data=recipe.data,
        tokens=trained["tokens"] / 1e6,
        minutes=trained["seconds"] / 60,
        threads=record.get("numerics", {}).get("threads", trained["hardware"]["cores"]),
        device=trained["hardware"]["device_name"],
        day=trained["created"][:10],
        experiment=record.get("experiment", name),
        claims=claims,
    )
    return _card(metadata, text)


def _card(metadata: ModelCardData, text: str) -> str:
    """A card with its metadata, as the Hub's own library writes it."""
    from huggingface_hub import ModelCard

    return str(ModelCard(f"---\n{metadata.to_yaml()}\n---\n\n{text}"))


def without_folders(recipe: Recipe) -> Recipe:
    """The recipe for other machines: data and model of this one go by their names, without the folders above them."""
    own = {
        key: Path(value).name
        for key, value in (("data", recipe.data), ("model", recipe.model))
        if value not in BUILT_IN and value not in CATALOG and (Path(value).is_absolute() or Path(value).exists())
    }
    return recipe.with_settings(own)


def model_card(record: dict[str, Any], *, merged: bool = False, kept: dict[str, Any] | None = None) -> str:
    """The README.md of a run, with the metadata that the Hub reads.

    Args:
        record: The run's.
        merged: Whether the adapter was added into the weights.
        kept: What `run_metrics.skill_kept` gave, where it was measured.
    """
    from huggingface_hub import ModelCardData

    model, recipe = record["model"], record["recipe"]
    method = METHODS[recipe["method"]]
    is_adapter = method.is_low_rank and not merged
    title = (
        f"{{name}}, with a {method.title.split()[0]} adapter merged" if method.is_low_rank and merged else method.title
    )
    from_base = model["name"] != "new"
    on_the_hub = _HUB_ID.fullmatch(recipe["data"]) and not Path(recipe["data"]).exists()
    metadata = ModelCardData(
        base_model=model["name"] if from_base else None,
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag="text-classification" if record.get("labels") else "text-generation",
        tags=[recipe["method"], "ftdemo"] + (["base_model:adapter:" + model["name"]] if is_adapter else []),
        metrics=list(record["scores"].get("after") or ()) or None,
        datasets=[recipe["data"]] if on_the_hub else None,
        license=model["licence"] or None,
    )
    text = _CARD.format(
        title=title.format(name=model["name"] if from_base else f"{recipe['width']} x {recipe['layers']}"),
        what=method.describe(Recipe.from_record(recipe)),
        data=_data(record),
        kept=_forgetting(kept),
        status=record["status"],
        steps=record["steps"],
        seconds=record["seconds"],
        speed=record["tokens_per_second"],
        device=record["hardware"]["device_name"],
        dtype=record["dtype"],
        scores=_score_table(record["scores"]),
        use=_use(record, is_adapter),
        origin=_origin(model) if from_base else "- Weights: random at the start.",
        given=_given(Recipe.from_record(recipe)),
        version=__version__,
    )
    return _card(metadata, text)


def _given(recipe: Recipe) -> str:
    """What somebody else has to have to repeat the run, to end a sentence."""
    named = without_folders(recipe)
    own = [key for key in ("data", "model") if getattr(named, key) != getattr(recipe, key)]
    places = " and ".join(f"`{key}` names your copy of `{getattr(named, key)}`" for key in own)
    return f", where {places}" if own else ""


def _data(record: dict[str, Any]) -> str:
    """What the model was trained on; only the name of a file, not its path."""
    data = record["recipe"]["data"]
    if data in BUILT_IN:
        return f"`{data}`, a data set of ftdemo: {BUILT_IN[data].summary}"
    return f"`{Path(data).name}`, provided by the person who trained the model."


def _forgetting(kept: dict[str, Any] | None) -> str:
    if not kept:
        return "What the model forgot was not measured. Run `ftdemo evaluate` to measure it."
    before, after = kept["before"], kept["after"]
    lines = ["| old skill | before | after |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {before[name]:.2f} | {after[name]:.2f} |" for name in after]
    return "\n".join(lines)


def _base(name: str, model: str) -> str:
    """The Python expression for the base of an adapter in a reader's code."""
    if model in BUNDLED_MODELS:
        return f'str(files("ftdemo.models") / "weights" / "{model}")'
    return f'"{name}"' if "/" in name else f'"path/to/{name}"'


def _use(record: dict[str, Any], is_adapter: bool) -> str:
    """The Python code that loads it with plain libraries."""
    recipe = record["recipe"]
    if record.get("head"):
        return _USE_CLASSIFIER.format(head=record["head"])
    if not is_adapter:
        kind = "AutoModelForSequenceClassification" if record.get("labels") else "AutoModelForCausalLM"
        return _USE_MODEL.format(kind=kind)
    base = _base(record["model"]["name"], recipe["model"])
    imports = "from importlib.resources import files\n\n" if "files(" in base else ""
    use = _USE_ADAPTER_IN_4_BITS if METHODS[recipe["method"]].frozen_format else _USE_ADAPTER
    return imports + use.format(base=base, dtype=record["dtype"])


def _origin(model: dict[str, Any]) -> str:
    return (
        f"- Base weights: {model['origin']}, SHA-256 `{model['sha256']}`. Use the adapter with these weights: "
        "with others it may do worse."
    )


def _score_table(scores: dict[str, dict[str, float]]) -> str:
    if not scores.get("before") or not scores.get("after"):
        return "No scores were measured."
    lines = ["| score (0 to 1) | before | after |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {scores['before'][name]:.2f} | {value:.2f} |" for name, value in scores["after"].items()]
    return "\n".join(lines)


_USE_ADAPTER = """from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained({base})
model = PeftModel.from_pretrained(base, "path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")"""

_USE_ADAPTER_IN_4_BITS = """import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

# The adapter has learnt to make up for what 4 bits lose, so it needs the base in the same 4 bits.
four_bits = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.{dtype},
)
base = AutoModelForCausalLM.from_pretrained({base}, dtype=torch.{dtype}, quantization_config=four_bits)
model = PeftModel.from_pretrained(base, "path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")"""

_USE_MODEL = """from transformers import {kind}, AutoTokenizer

model = {kind}.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")"""

_USE_CLASSIFIER = """import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained("path/to/this/folder").eval()
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
inputs = tokenizer(["A message to sort."], padding=True, truncation=True, return_tensors="pt")
ids, mask = inputs["input_ids"], inputs["attention_mask"]
with torch.no_grad():
    tokens = model.base_model(ids, attention_mask=mask).last_hidden_state
    # The head reads the mean of a text's tokens. `model(**inputs)` and pipelines would give it something else.
    logits = model.{head}((tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
print([model.config.id2label[int(number)] for number in logits.argmax(1)])"""

_BUNDLED_CARD = """# {name}

A language model of {parameters:,} parameters that has read about shops and their customers, and nothing else. It was
trained from random weights so that fine-tuning can be shown, in seconds and without a network, on a model whose whole
past is known. It ships inside ftdemo.

```python
from importlib.resources import files
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = str(files("ftdemo.models") / "weights" / "{name}")
model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
inputs = tokenizer("One Tuesday morning Jane the teacher was buying", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=120)[0], skip_special_tokens=True))
```

## What it is

| | |
| --- | --- |
| architecture | Llama, {width} wide, {layers} layers of {heads} heads; the embedding is the head too |
| weights | bfloat16, safetensors |
| tokenizer | byte-level BPE of {vocabulary} tokens, learnt from the corpus; a chat template with a stop token |
| reads at once | {length} tokens |
| corpus | {data}, generated texts written for this project: {tokens:.1f} million tokens, each read once |
| training | {minutes:.0f} minutes, threads of torch: {threads}, on {device}, {day} |

It continues texts, answers questions about a text before them (`Question: …`, `Answer:`), fills in records of
messages, and has met short chats in its template. It follows requests only once it is fine-tuned for that.

## How well

| claim | measured (95% interval) | bound |
| --- | --- | --- |
{claims}

`ftdemo record {experiment}` repeats the training and these measurements.

## Limits

It knows no facts, no English beyond the corpus's 2,500 or so sentence templates, and no other language. Words that
the corpus lacks are spelled in pieces and mean nothing to it. A word in quotes is other tokens than the same word in a
sentence, so it copies numbers into a record, but few names and products. Do not use it for anything but showing how
training works.

## Licence

Apache License 2.0, as ftdemo. The corpus was generated, so no text of anybody's is in it.
"""

_CARD = """# {title}

{what}. Status: {status} after {steps} steps, {seconds:.0f} seconds at {speed:.0f} tokens/s on {device},
with matrix products in {dtype}.

## Data

{data}

## Scores on held-out examples

{scores}

## What it forgot

{kept}

## Use it

```python
{use}
```

## Origin

{origin}
- Recipe: `recipe.yaml`. Repeat the run with `ftdemo train recipe.yaml`{given}.
- Record: `run.json` holds every step, the versions and the machine.
- Made with ftdemo {version}.

## Limits

This model demonstrates a method. Only the scores above were measured, not whether its answers are true, so do not rely
on them.
"""
