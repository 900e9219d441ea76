"""Adapters in use: several on one base, and one merged into its weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ftdemo.data import Turn, load_splits
from ftdemo.errors import UsageError
from ftdemo.evaluation.generate import answer_rows, stream_reply
from ftdemo.models.load import load_found, one_at_a_time, resolve_base
from ftdemo.runs.publish import last_logits
from ftdemo.runs.run import Run

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
_PROMPTS = 8
_MERGED_TOKENS = 48


def switched_reply(folders: tuple[str, ...], place: int | None, message: str) -> Iterator[str]:
    """A base model's reply with one of several adapters on it, piece by piece.

    The base is loaded once; an adapter is switched on or off between two answers.

    Args:
        folders: Of runs, each with an adapter for the same base; an empty name stands for none.
        place: Which of them; none for the base alone.
        message: The user's turn.

    Raises:
        UsageError: If the adapter is for another base than the last one.
    """
    model, tokenizer, names = _with_adapters(folders)
    max_new_tokens = Run.load(Path(folders[-1])).reply_tokens
    if place is None:
        with model.disable_adapter():
            yield from stream_reply(model, tokenizer, [Turn("user", message)], max_new_tokens=max_new_tokens)
        return
    if place not in names:
        raise UsageError("That adapter was trained on another model.", "Train both on the same one.")
    model.set_adapter(names[place])
    yield from stream_reply(model, tokenizer, [Turn("user", message)], max_new_tokens=max_new_tokens)


@lru_cache(maxsize=1)
@one_at_a_time
def _with_adapters(folders: tuple[str, ...]) -> tuple[Any, Any, dict[int, str]]:
    """The last run's model, with the adapters of the others beside its own, and what each place's adapter is called."""
    latest = Run.load(Path(folders[-1]))
    model, tokenizer = latest.load_model()
    names = {len(folders) - 1: "default"}
    for place, folder in enumerate(folders[:-1]):
        if folder and Run.load(Path(folder)).record["model"]["sha256"] == latest.record["model"]["sha256"]:
            names[place] = f"adapter{place}"
            model.load_adapter(folder, adapter_name=names[place])
    return model.eval(), tokenizer, names


def base_of(folder: Path) -> str:
    """The base that an adapter of PEFT's names.

    Raises:
        UsageError: If its configuration cannot be read.
    """
    try:
        return str(json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        what = f"{folder / ADAPTER_CONFIG} cannot be read, or names no base."
        raise UsageError(what, "Name the folder of an adapter that PEFT or a page of the site has written.") from None


def load_adapter(folder: Path, base: str | None = None) -> tuple[Any, Any]:
    """A base with an adapter that PEFT or a page of the site has written, and its tokenizer, ready to answer.

    Args:
        folder: Holds ``adapter_config.json`` and ``adapter_model.safetensors``.
        base: Where to take the base from, if not from where the adapter's configuration says.

    Raises:
        UsageError: If the adapter cannot be read, or does not fit the base.
    """
    from peft import PeftModel
    from safetensors import SafetensorError

    if not (folder / ADAPTER_WEIGHTS).exists():  # PEFT would take a pickle in its place
        raise UsageError(f"{folder} has no {ADAPTER_WEIGHTS}.", "Save the adapter as safetensors.")
    model, tokenizer = load_found(resolve_base("" if base else base_of(folder), folder, base))
    try:
        adapted = PeftModel.from_pretrained(model, folder)
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        why = str(error).strip().split("\n")[0]
        raise UsageError(f"{folder}: the adapter does not fit its base: {why}", "Use the base it is for.") from None
    return adapted.eval(), tokenizer


def merge_and_compare(run: Run) -> dict[str, Any]:
    """Add a run's adapter into the weights, and compare the answers with those before.

    Returns:
        The largest difference of any logit at the last token of some prompts, and the largest logit there; how many
        answers were asked for, and how many stayed the same; the bytes of the adapter, and of the merged model.

    Raises:
        UsageError: If the run has no adapter.
    """
    if not run.recipe.is_low_rank:
        raise UsageError(f"{run.folder} holds no adapter.", "Only a LoRA, DoRA or QLoRA run can be merged.")
    model, tokenizer = run.load_model()
    splits = load_splits(run.recipe.data, seed=run.recipe.seed, examples=_PROMPTS)
    rows = (splits.prompts or tuple(splits.train))[:_PROMPTS]
    before = answer_rows(model, tokenizer, rows, max_new_tokens=_MERGED_TOKENS)
    logits = last_logits(model, tokenizer, [answer.prompt for answer in before])
    merged = model.merge_and_unload()
    after = answer_rows(merged, tokenizer, rows, max_new_tokens=_MERGED_TOKENS)
    return {
        "largest_difference": float((last_logits(merged, tokenizer, [a.prompt for a in before]) - logits).abs().max()),
        "largest_logit": float(logits.abs().max()),
        "asked": len(before),
        "same": sum(old.text == new.text for old, new in zip(before, after, strict=True)),
        "adapter_bytes": (run.folder / ADAPTER_WEIGHTS).stat().st_size,
        "merged_bytes": sum(weight.numel() * weight.element_size() for weight in merged.parameters()),
    }
