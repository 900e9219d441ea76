"""Publishes a run's model: the adapter by itself, or merged into its base, and checked once it is written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ftdemo.data.atomic import atomic_write, require_place, require_space
from ftdemo.errors import ModelError, UsageError, writing
from ftdemo.methods import METHODS
from ftdemo.models import load as models
from ftdemo.models.layers import merge_adapter, precision
from ftdemo.models.pooling import has_mean_pooling, use_mean_pooling
from ftdemo.models.tokenizer import read_tokenizer, stop_ids
from ftdemo.runs import run_metrics, save
from ftdemo.runs.run import Run

if TYPE_CHECKING:
    import torch

Form = Literal["adapter", "merged"]
_REMEDY = "Free some disk space, or name another folder with `--out`."
_PROMPTS = 8
_TOLERANCE = {"float32": 0.001, "bfloat16": 0.1}
"""The largest difference that rounding may make, as a share of the largest logit, by the format of what is written."""
_ANY_PROMPT = "Is it open today?"
"""For a run without held-out prompts."""


@dataclass(frozen=True)
class Released:
    """A released model, and how far its logits are from those of the run."""

    folder: Path
    form: Form
    bytes: int
    """Of the weights."""
    largest_difference: float
    """Of any logit at the end of some prompts, between the run's model and what plain libraries load."""
    largest_logit: float
    untied: bool
    """Whether the merged model has two matrices, for embedding and head, where its base has one."""


def release(
    run: Run, out: Path, form: Form, *, dtype: str = "float32", base: str | None = None, test_old_skill: bool = False
) -> Released:
    """Write a run's model for others, with tokenizer, chat template, stop tokens, recipe and card, and load it again.

    A merged model is made in float32, whatever format it was trained in, so that small updates are not rounded away
    before they are added. Beside a 4-bit base the update has learnt to compensate for what 4 bits lost, so it is added
    to those weights, unpacked, and not to the original ones (Dettmers et al. 2023, section 3). If only one of embedding
    and head was adapted and they share a matrix, the merged model has two.

    Args:
        run: The run.
        out: The folder to write; it may not exist.
        form: ``adapter`` for the adapter alone, ``merged`` for a model that needs no PEFT.
        dtype: The number format of merged weights: float32 or bfloat16.
        base: Another place to take the base model of an adapter from.
        test_old_skill: Whether to measure for the card what the model forgot.

    Raises:
        UsageError: If the run has no adapter to release, or the folder exists; or if an adapter is wanted in another
            number format than float32.
        StorageError: If it cannot be written.
        ModelError: If what plain libraries load gives other logits than the run's model. Nothing is kept then.
    """
    require_place(out, "Name another folder with `--out`.")
    if form == "adapter" and not run.recipe.is_low_rank:
        raise UsageError(f"{run.folder} holds a whole model, not an adapter.", "Export it with `--to merged`.")
    if form == "adapter" and dtype != "float32":
        raise UsageError(f"An adapter is written in float32, not {dtype}.", "Leave out `--dtype`.")
    kept = run_metrics.skill_kept(run, {}, base) if test_old_skill and not run.labels else None
    untied = False
    with writing(out, _REMEDY), atomic_write(out) as new:
        new.mkdir()
        if form == "adapter":
            _copy_adapter(run, new)
        else:
            untied = _write_merged(run, new, dtype, base)
        _write_rest(run, new, form, kept)
        difference, largest = _difference(run, new, form, base)
        _refuse_other_logits(out, difference, largest, run.dtype if _stays_quantized(run, form, base) else dtype)
    weights = sum(path.stat().st_size for path in out.glob("*.safetensors"))
    return Released(out, form, weights, difference, largest, untied)


def _copy_adapter(run: Run, new: Path) -> None:
    for path in run.folder.iterdir():
        if path.name.startswith(("adapter_", "tokenizer", "chat_template", "special_tokens", "vocab", "merges")):
            shutil.copy(path, new)


def _write_merged(run: Run, new: Path, dtype: str, base: str | None) -> bool:
    """Write the merged model, and say whether merging took its head and its embedding apart."""
    import torch

    model, tokenizer = load_to_merge(run, base)
    tied = bool(model.config.tie_word_embeddings)
    if run.recipe.is_low_rank:
        model = merge_adapter(model)
    model = model.to(getattr(torch, dtype))
    out = new.parents[1] / new.name  # `new` is in a hidden folder beside it
    require_space(out, sum(weight.nbytes for weight in model.parameters()), "The merged model", _REMEDY)
    model.save_pretrained(new)
    tokenizer.save_pretrained(new)
    return tied and not model.config.tie_word_embeddings


def load_to_merge(run: Run, base: str | None = None) -> tuple[Any, Any]:
    """A run's model with its adapter beside it, in float32, and its tokenizer; a quantized base is unpacked."""
    import torch

    if not run.recipe.is_low_rank:
        return run.load_model()
    return run.load_model(base, dtype=torch.float32)


def _write_rest(run: Run, new: Path, form: Form, kept: dict[str, Any] | None) -> None:
    """Generation settings, recipe and card."""
    from transformers import GenerationConfig

    if not run.labels:
        tokenizer = read_tokenizer(new, str(run.folder))
        of_model = GenerationConfig.from_pretrained(new) if (new / "generation_config.json").exists() else None
        stops = stop_ids(tokenizer, of_model)
        GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False,
            max_new_tokens=run.reply_tokens,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=stops[0] if len(stops) == 1 else stops or None,
            pad_token_id=tokenizer.pad_token_id,
        ).save_pretrained(new)
    (new / "recipe.yaml").write_text(save.without_folders(run.recipe).to_yaml(), encoding="utf-8")
    card = save.model_card(run.record, merged=form == "merged", kept=kept)
    (new / "README.md").write_text(card, encoding="utf-8")


def _difference(run: Run, new: Path, form: Form, base: str | None) -> tuple[float, float]:
    """The largest difference of a logit at the end of some prompts, and the largest logit there."""
    # Beside quantized weights an adapter is used as it was trained; all else is compared in float32.
    model, tokenizer = run.load_model(base) if _stays_quantized(run, form, base) else load_to_merge(run, base)
    prompts = [answer.prompt for sample in run.samples() if sample for answer in sample.answers]
    texts = list(dict.fromkeys(prompts))[:_PROMPTS] or [_ANY_PROMPT]
    with precision(model):
        ours = last_logits(model, tokenizer, texts)
    del model
    theirs = last_logits(_load_plainly(run, new, form, base), tokenizer, texts)
    return float((ours - theirs).abs().max()), float(ours.abs().max())


def _stays_quantized(run: Run, form: Form, base: str | None) -> bool:
    """Whether what is written is used beside quantized weights: by its method, or as its base's files hold such."""
    if form != "adapter":
        return False
    quantizes = bool(METHODS[run.recipe.method].frozen_format)
    return quantizes or models.holds_few_bits(run.find_base(base))


def _load_plainly(run: Run, new: Path, form: Form, base: str | None) -> Any:
    """The released model, as plain PEFT and transformers load it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    if form == "adapter":
        from peft import PeftModel

        source = run.find_base(base)
        if METHODS[run.recipe.method].frozen_format:
            plain = models.load_quantized(source, run.dtype, torch.device("cpu"))
        else:
            plain = models.load_saved(source, dtype=run.dtype if models.holds_few_bits(source) else torch.float32)
        return PeftModel.from_pretrained(plain, new)
    kind = AutoModelForSequenceClassification if run.labels else AutoModelForCausalLM
    loaded = kind.from_pretrained(new, dtype=torch.float32, trust_remote_code=False, use_safetensors=True)
    if run.labels and has_mean_pooling(loaded):
        use_mean_pooling(loaded)  # plain transformers knows no such head: the card says in code how to use it
    return loaded


def _refuse_other_logits(out: Path, difference: float, largest: float, dtype: torch.dtype | str) -> None:
    """Refuse a difference that rounding does not explain.

    Raises:
        ModelError: With the difference, if it is one.
    """
    tolerance = _TOLERANCE[str(dtype).removeprefix("torch.")]
    if difference <= tolerance * max(1.0, largest):
        return
    raise ModelError(
        f"{out} is not written: loaded by plain libraries, its logits differ from the run's by up to {difference:.2g}, "
        f"where the largest logit is {largest:.2g}. Rounding explains at most {tolerance:.1%} of that.",
        "It would answer differently from the run. Check that `--base` is the model that the run was trained on.",
    )


def last_logits(model: Any, tokenizer: Any, texts: Sequence[str]) -> Any:
    """The logits at the end of each text (texts x vocabulary), or those of its class, in float32."""
    import torch

    model.eval()
    with torch.inference_mode():
        each = [model(**_inputs(tokenizer, text)).logits for text in texts]
    return torch.stack([(logits[0, -1] if logits.dim() == 3 else logits[0]).float() for logits in each])


def _inputs(tokenizer: Any, text: str) -> dict[str, Any]:
    encoded = tokenizer(text, add_special_tokens=False, return_tensors="pt", truncation=True, max_length=512)
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}


def release_as_dict(released: Released) -> dict[str, Any]:
    """Plain values."""
    return {**vars(released), "folder": str(released.folder)}
