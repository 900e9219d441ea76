"""Adapters in use: several on one base, and one merged into its weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ftdemo.data import Row, Turn, load_splits
from ftdemo.data.tokenize import render
from ftdemo.errors import UsageError
from ftdemo.evaluation.generate import answer_rows, stream_reply
from ftdemo.models import load as models
from ftdemo.models.layers import merge_adapter, precision
from ftdemo.models.load import one_at_a_time
from ftdemo.models.tokenizer import read_tokenizer, stop_ids
from ftdemo.runs.publish import last_logits, load_to_merge
from ftdemo.runs.run import ADAPTER_WEIGHTS, Run, reading_adapter

ADAPTER_CONFIG = "adapter_config.json"
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
        raise UsageError("The two adapters were trained on different models.", "Train both on the same model.")
    model.set_adapter(names[place])
    yield from stream_reply(model, tokenizer, [Turn("user", message)], max_new_tokens=max_new_tokens)


@dataclass(frozen=True)
class ScoredToken:
    """A token of an answer, with its log-probabilities in nats; the stop token has no text."""

    text: str
    tuned: float
    """With the adapter, at the strength that wrote the answer."""
    base: float
    """Without it."""


def answer_at_strength(folder: str, strength: float, message: str) -> tuple[ScoredToken, ...]:
    """The answer of a run's model with its adapter turned down or up, and how likely each token is with and without.

    Args:
        folder: The run's.
        strength: What the adapter's update is multiplied by: 1 is the model as trained. At 0 the adapter is left out,
            so the base answers as it was, bit for bit.
        message: The user's turn.

    Raises:
        UsageError: If the run has no adapter.
    """
    run = Run.load(Path(folder))
    if not run.recipe.is_low_rank:
        raise UsageError(f"{folder} contains no adapter.", "Name a run that trained an adapter.")
    model, tokenizer, _ = _with_adapters((folder,))
    row = Row(1, (Turn("user", message), Turn("assistant", "")))
    prompt = tokenizer.encode(render(row.prompt, tokenizer, to_be_answered=True), add_special_tokens=False)
    with _at_strength(model, strength):
        [answer] = answer_rows(model, tokenizer, [row], max_new_tokens=run.reply_tokens)
        tokens = tokenizer.encode(answer.text, add_special_tokens=False)
        stop = stop_ids(tokenizer, model.generation_config)[:1] if answer.stopped else []
        tuned = _log_probabilities(model, prompt, tokens + stop)
    with model.disable_adapter():
        base = _log_probabilities(model, prompt, tokens + stop)
    texts = [tokenizer.decode([token]) for token in tokens] + [""] * len(stop)
    return tuple(map(ScoredToken, texts, tuned, base))


@contextmanager
def _at_strength(model: Any, strength: float) -> Iterator[None]:
    """Inside this context the update of every adapted layer is multiplied by the strength."""
    if strength == 0:
        with model.disable_adapter():
            yield
        return
    scalings = [layer.scaling for layer in model.modules() if isinstance(getattr(layer, "scaling", None), dict)]
    trained = [dict(scaling) for scaling in scalings]
    try:
        for scaling in scalings:
            scaling.update({name: strength * value for name, value in scaling.items()})
        yield
    finally:
        for scaling, before in zip(scalings, trained, strict=True):
            scaling.update(before)


def _log_probabilities(model: Any, prompt: list[int], answer: list[int]) -> list[float]:
    """How likely each token of an answer is after the prompt and the tokens before it, in nats."""
    import torch

    if not answer:
        return []
    ids = torch.tensor([prompt + answer], device=model.device)
    with torch.inference_mode(), precision(model):
        logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
    chosen: list[float] = logits.log_softmax(-1).gather(1, ids[0, len(prompt) :, None])[:, 0].tolist()
    return chosen


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


def find_base(folder: Path, base: str | None = None) -> models.Source:
    """The base of an adapter that PEFT or a page of the site has written.

    Args:
        folder: The adapter's.
        base: Where to take the base from, if not from where the adapter's configuration says.

    Raises:
        UsageError: If the configuration cannot be read.
        ModelError: If the base is not there.
    """
    return models.resolve_base("" if base else _base_of(folder), folder, base)


def _base_of(folder: Path) -> str:
    try:
        return str(json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"])
    except (OSError, ValueError, KeyError, TypeError):
        what = f"{folder / ADAPTER_CONFIG} cannot be read, or names no base."
        raise UsageError(what, "Name the folder of an adapter that PEFT or a page of the site has written.") from None


def load_adapter(folder: Path, base: str | None = None) -> tuple[Any, Any]:
    """A base with an adapter that PEFT or a page of the site has written, and its tokenizer, ready to answer.

    The tokenizer and the chat template beside the adapter are those that it was trained with, so they take the place of
    the base's. If it was trained with more tokens than the base has, the base gets room for them.

    Args:
        folder: Holds ``adapter_config.json`` and ``adapter_model.safetensors``.
        base: Where to take the base from, if not from where the adapter's configuration says.

    Raises:
        UsageError: If the adapter cannot be read, or does not fit the base.
    """
    from peft import PeftModel

    source = find_base(folder, base)
    model = models.load_saved(source).train(False)
    tokenizer = _tokenizer_beside(folder, source)
    with reading_adapter(folder, source.name):
        _make_room(model, folder)
        return PeftModel.from_pretrained(model, folder).eval(), tokenizer


def _tokenizer_beside(folder: Path, source: models.Source) -> Any:
    """The adapter's own tokenizer, else its base's; with the adapter's own chat template, if there is one."""
    if (folder / "tokenizer_config.json").is_file():
        return read_tokenizer(folder, str(folder))
    tokenizer = models.load_tokenizer(source)
    template = folder / "chat_template.jinja"
    if template.is_file():
        tokenizer.chat_template = template.read_text(encoding="utf-8")
    return tokenizer


def _make_room(model: Any, folder: Path) -> None:
    """Give the base as many tokens as the adapter has, if it was trained with tokens that the base lacks."""
    from safetensors import safe_open

    ends = model.get_input_embeddings(), model.get_output_embeddings()
    names = tuple(f".{name.rpartition('.')[2]}.weight" for name, layer in model.named_modules() if layer in ends)
    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as file:
        rows = max((file.get_slice(key).get_shape()[0] for key in file.keys() if key.endswith(names)), default=0)  # noqa: SIM118
    own = ends[0].weight.shape[0]
    needed = rows or max(own, 1 + max(_trained_tokens(folder), default=0))
    if needed != own:
        model.resize_token_embeddings(needed, mean_resizing=False)  # the adapter brings the new ones


def _trained_tokens(folder: Path) -> list[int]:
    """The numbers of the tokens whose embeddings the adapter trained one by one, if it did."""
    trained = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8")).get("trainable_token_indices") or []
    return [number for numbers in trained.values() for number in numbers] if isinstance(trained, dict) else trained


def merge_and_compare(run: Run) -> dict[str, Any]:
    """Add a run's adapter into the weights, and compare the answers with those before.

    Returns:
        The largest difference of any logit at the last token of some prompts, and the largest logit there; how many
        answers were asked for, and how many stayed the same; the bytes of the adapter, and of the merged model.

    Raises:
        UsageError: If the run has no adapter.
    """
    if not run.recipe.is_low_rank:
        raise UsageError(f"{run.folder} contains no adapter.", "Name a run of LoRA, DoRA or QLoRA.")
    model, tokenizer = load_to_merge(run)
    splits = load_splits(run.recipe.data, seed=run.recipe.seed, examples=_PROMPTS)
    rows = (splits.prompts or tuple(splits.train))[:_PROMPTS]
    before = answer_rows(model, tokenizer, rows, max_new_tokens=_MERGED_TOKENS)
    logits = last_logits(model, tokenizer, [answer.prompt for answer in before])
    merged = merge_adapter(model)
    after = answer_rows(merged, tokenizer, rows, max_new_tokens=_MERGED_TOKENS)
    return {
        "largest_difference": float((last_logits(merged, tokenizer, [a.prompt for a in before]) - logits).abs().max()),
        "largest_logit": float(logits.abs().max()),
        "asked": len(before),
        "same": sum(old.text == new.text for old, new in zip(before, after, strict=True)),
        "adapter_bytes": (run.folder / ADAPTER_WEIGHTS).stat().st_size,
        "merged_bytes": sum(weight.numel() * weight.element_size() for weight in merged.parameters()),
    }
