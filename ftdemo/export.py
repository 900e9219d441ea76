"""What a run leaves for others: an adapter under PEFT's own file names, the tokenizer, and a model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ftdemo import __version__
from ftdemo.methods import Learner


def save_adapter(learner: Learner, folder: Path) -> None:
    """Write ``adapter_model.safetensors`` and ``adapter_config.json``, and the tokenizer with its chat template."""
    config = learner.model.peft_config["default"]
    config.base_model_name_or_path = learner.source.name  # its name in the world, not a path on this machine
    # The embedding is frozen, so it is not saved; "auto" would ask the Hub about it.
    learner.model.save_pretrained(folder, save_embedding_layers=False)
    learner.tokenizer.save_pretrained(folder)


def model_card(record: dict[str, Any]) -> str:
    """The README.md of a run, with the metadata that the Hub reads."""
    model, recipe = record["model"], record["recipe"]
    metadata = {
        "base_model": model["name"],
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "ftdemo", "base_model:adapter:" + model["name"]],
    }
    if model["licence"]:
        metadata["license"] = model["licence"]
    head = yaml.safe_dump(metadata, sort_keys=False)
    return f"---\n{head}---\n\n" + _CARD.format(
        name=model["name"],
        data=recipe["data"],
        rank=recipe["rank"],
        alpha=recipe["alpha"],
        status=record["status"],
        steps=record["steps"],
        seconds=record["seconds"],
        speed=record["tokens_per_second"],
        device=record["hardware"]["device_name"],
        origin=model["origin"],
        sha256=model["sha256"],
        scores=_score_table(record["scores"]),
        version=__version__,
    )


def _score_table(scores: dict[str, dict[str, float]]) -> str:
    if not scores.get("before") or not scores.get("after"):
        return "No scores were measured."
    lines = ["| score (0 to 1) | before | after |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {scores['before'][name]:.2f} | {value:.2f} |" for name, value in scores["after"].items()]
    return "\n".join(lines)


_CARD = """# LoRA adapter for {name}

A rank-{rank} LoRA adapter (alpha {alpha:g}), trained on `{data}`. Status: {status} after {steps} steps,
{seconds:.0f} seconds at {speed:.0f} tokens/s on {device}.

## Scores on held-out prompts

{scores}

## Use it

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{name}")
model = PeftModel.from_pretrained(base, "path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
```

## Where it came from

- Base weights: {origin}, SHA-256 `{sha256}`. An adapter fits the weights it was trained on; on others it may do less.
- Recipe: `recipe.yaml`. Do it again with `ftdemo train recipe.yaml`.
- Record: `run.json` holds every step, the versions and the machine.
- Made with ftdemo {version}.

## Limits

A small demonstration of a method. It was judged on its answers' shape and voice, not on whether they are true: do not
rely on what it says.
"""
