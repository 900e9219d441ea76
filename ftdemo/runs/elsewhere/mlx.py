"""mlx-lm, on Apple's chips: one YAML file. It also runs on a Linux CPU, with `mlx[cpu]`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ftdemo.runs.elsewhere import common
from ftdemo.runs.elsewhere.job import MODEL_FOLDER, Job
from ftdemo.runs.elsewhere.tool import Groups, Setting, Tool, as_yaml

_TITLE = "mlx-lm"
_OUTPUT = "adapters"
_QUANTIZED = f"{MODEL_FOLDER}-4bit"
_PARTS = dict.fromkeys(("q_proj", "k_proj", "v_proj", "o_proj"), "self_attn") | dict.fromkeys(
    ("gate_proj", "up_proj", "down_proj"), "mlp"
)
"""In which part of a layer mlx-lm finds a matrix, in models like Llama, Qwen and Mistral."""


def _scale(job: Job) -> float:
    """mlx-lm multiplies the update by its `scale`, and has no alpha."""
    recipe = job.recipe
    return recipe.alpha / (math.sqrt(recipe.rank) if recipe.rank_stabilized else recipe.rank)


def _schedule(job: Job) -> dict[str, Any]:
    """The schedule after the warm-up, by the functions of mlx.optimizers: their first argument is the peak."""
    rate, steps = job.learning_rate, max(1, job.batches.steps - job.batches.warmup_steps)
    forms: dict[str, tuple[str, list[float]]] = {
        "constant": ("linear_schedule", [rate, rate, steps]),
        "linear": ("linear_schedule", [rate, 0.0, steps]),
        "cosine": ("cosine_decay", [rate, steps]),
    }
    name, arguments = forms[job.recipe.schedule]
    return {"name": name, "arguments": arguments, "warmup": job.batches.warmup_steps}


def _batch_size(job: Job) -> int:
    """No larger than the data: mlx-lm refuses to train or to evaluate on fewer examples than a batch has."""
    heldout = len(job.heldout) if job.evaluates else job.batches.examples
    return min(job.batches.examples, len(job.splits.train), heldout)


def _adapter(job: Job) -> Setting:
    targets = job.recipe.targets
    keys = {} if isinstance(targets, str) else {"keys": [f"{_PARTS[name]}.{name}" for name in targets]}
    root = "sqrt(rank)" if job.recipe.rank_stabilized else "rank"
    why = f"scale: alpha / {root}, which is {job.recipe.alpha:g} / {root} here; without keys, all linear layers"
    return Setting("lora_parameters", {"rank": job.recipe.rank, "scale": _scale(job), "dropout": 0.0, **keys}, why)


def _training(job: Job) -> Sequence[Setting]:
    recipe, batches = job.recipe, job.batches
    adam = {"betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": recipe.weight_decay, "bias_correction": True}
    corrected = "with bias correction, as in ftdemo: mlx's default is without, and with a decay of 0.01"
    return [
        Setting("optimizer", "adamw"),
        Setting("optimizer_config", {"adamw": adam}, corrected),
        Setting("learning_rate", job.learning_rate, job.rate_reason),
        Setting("lr_schedule", _schedule(job), common.reason_for_warmup(job)),
        Setting("batch_size", _batch_size(job), common.reason_for_batch(job)),
        Setting("grad_accumulation_steps", batches.accumulate),
        Setting("iters", batches.steps * batches.accumulate, f"{batches.steps:,} steps, {recipe.epochs:g} epochs"),
        Setting("max_seq_length", recipe.max_length),
        Setting("seed", recipe.seed, "draws the adapter; the order of batches is random"),
        Setting("grad_checkpoint", job.gradient_checkpointing),
    ]


def _settings(job: Job) -> Groups:
    kind = "full" if not job.method.is_low_rank else "dora" if job.method.has_magnitudes else "lora"
    every = job.recipe.save_every or job.batches.steps
    return {
        "Model": [
            Setting("model", f"./{_QUANTIZED}" if job.method.frozen_format else job.model),
            Setting("train", True),
            Setting("fine_tune_type", kind),
            Setting("num_layers", -1, "all layers"),
            *([_adapter(job)] if job.method.is_low_rank else []),
        ],
        "Data": [
            Setting("data", "data"),
            Setting("mask_prompt", job.masks_prompts, "true: the last answer of each example is trained"),
        ],
        "Training": _training(job),
        "Evaluation and output": [
            Setting("steps_per_report", 1),
            Setting("steps_per_eval", (job.recipe.eval_every or job.batches.steps) * job.batches.accumulate),
            Setting("val_batches", -1, "all held-out examples, except those that fill no batch"),
            Setting("save_every", every * job.batches.accumulate),
            Setting("adapter_path", _OUTPUT),
        ],
    }


def _obstacle(job: Job) -> str:
    unknown = [name for name in job.recipe.targets if not isinstance(job.recipe.targets, str) and name not in _PARTS]
    where = f"`targets` names {unknown[0]}, and ftdemo does not know where mlx-lm has it." if unknown else ""
    return common.first_of(
        common.common_obstacle(job),
        common.adapter_obstacle(job, _TITLE, ratio=False),
        common.names_obstacle(job, _TITLE),
        where if job.method.is_low_rank else "",
    )


def _differs(job: Job) -> Iterator[str]:
    yield "mlx-lm does not clip the gradient. If the loss jumps, lower the learning rate."
    yield "mlx-lm also trains one token of padding after each example, and leaves out examples that fill no batch."
    if job.masks_prompts and job.continues_after_stop:
        yield "mlx-lm also trains what the chat template writes after the stop token, often a line end."
    if job.masks_prompts and job.contents.conversations_with_several:
        yield "A conversation with several trained answers is written as several examples, one for each answer."
    if job.recipe.packing:
        yield "mlx-lm packs no examples, so a batch holds less text than in ftdemo."
    if job.recipe.patience:
        yield "mlx-lm does not stop early: watch the validation loss, and keep the adapter of the best step."
    if not job.method.is_low_rank:
        yield "mlx-lm trains all layers, but neither the embeddings nor the head. ftdemo trains those, too."
    if job.method.frozen_format:
        yield "The 4-bit format is mlx's own, not NF4."
    yield "Numbers have the format of the model's files, usually bfloat16. The adapter is in float32."


def _install(_job: Job) -> Sequence[str]:
    return [f'pip install "mlx-lm=={MLX.version}"  # on Linux without a GPU, also "mlx[cpu]"']


def _run(job: Job) -> Sequence[str]:
    train = "mlx_lm.lora --config config.yaml"
    if not job.method.frozen_format:
        return [train]
    return [f"mlx_lm.convert --hf-path {job.model} --mlx-path {_QUANTIZED} -q --q-bits 4", train]


MLX: Tool = Tool(
    name="mlx",
    title="MLX",
    package=_TITLE,
    version="0.32.2",
    settings=_settings,
    obstacle=_obstacle,
    files=lambda job: {"config.yaml": as_yaml(_settings(job))},
    rows=common.one_per_answer,
    train_file="data/train.jsonl",
    heldout_file="data/valid.jsonl",
    install=_install,
    run=_run,
    result=f"`{_OUTPUT}/`",
    differs=_differs,
)
