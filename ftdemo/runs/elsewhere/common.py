"""What several trainers have in common: formats of rows, the arguments of transformers' Trainer, and obstacles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ftdemo.data import AnyRow, Row
from ftdemo.models.shapes import targets_as_text
from ftdemo.runs.elsewhere.job import Job
from ftdemo.runs.elsewhere.tool import Setting

MAX_GRAD_NORM = 1.0
"""At which ftdemo's loop clips the gradient."""
CLIPPED = "ftdemo always clips the gradient here"
ALL_LINEAR = "all-linear"
_UNREAD = {"labels": "texts with labels", "mixed": "conversations and texts in one file"}


def as_messages(row: Row) -> list[dict[str, Any]]:
    """The turns as role and content alone."""
    return [{"role": turn.role, "content": turn.content} for turn in row.turns]


def messages_or_text(_job: Job, row: AnyRow) -> Iterator[dict[str, Any]]:
    """A row as ``messages``, or as a ``text``."""
    yield {"messages": as_messages(row)} if isinstance(row, Row) else {"text": row.text}


def one_per_answer(_job: Job, row: AnyRow) -> Iterator[dict[str, Any]]:
    """A conversation as one row for each trained answer, which ends it; a text as it is."""
    if not isinstance(row, Row):
        yield {"text": row.text}
        return
    for place, turn in enumerate(row.turns):
        if turn.role == "assistant" and turn.train:
            yield {"messages": as_messages(row)[: place + 1]}


def common_obstacle(job: Job) -> str:
    """Why a trainer for chat models cannot do a job; empty if it can."""
    method, recipe = job.method, job.recipe
    if method.starts_new:
        return f"`method` is {method.name}, which makes a new model and its tokenizer."
    if method.is_classifier:
        return f"`method` is {method.name}, which trains a head that sorts texts."
    if recipe.optimizer != "adamw":
        return f"`optimizer` is {recipe.optimizer}, and other tools' versions of it are scaled in other ways."
    if job.contents.kind in _UNREAD:
        return f"The data holds {_UNREAD[job.contents.kind]}."
    if job.contents.calls_tools:
        return "The data holds calls of tools, for which each tool has a format of its own."
    return ""


def masking_obstacle(job: Job, title: str) -> str:
    """Why a trainer that masks either no answers or all but the last cannot do a job; empty if it can."""
    if job.masks_prompts and job.contents.trained == "some":
        return f"The data marks single answers that are not trained, which {title} cannot do."
    return ""


def adapter_obstacle(job: Job, title: str, *, vera: bool = False, dora: bool = True, ratio: bool = True) -> str:
    """Why a trainer cannot train the recipe's adapter; empty if it can.

    Args:
        job: What to do.
        title: The trainer's name.
        vera: Whether it has VeRA.
        dora: Whether it has DoRA.
        ratio: Whether it has a learning rate of its own for the matrices B (LoRA+).
    """
    method = job.method
    if (method.peft_config == "VeraConfig" and not vera) or (method.has_magnitudes and not dora):
        return f"`method` is {method.name}, which {title} does not have."
    if job.recipe.lr_ratio != 1 and not ratio:
        return f"`lr_ratio` is {job.recipe.lr_ratio:g} (LoRA+), which {title} does not have."
    return ""


def names_obstacle(job: Job, title: str) -> str:
    """Why a trainer that wants the names of matrices cannot use the recipe's targets; empty if it can."""
    targets = job.recipe.targets
    if job.method.is_low_rank and isinstance(targets, str) and targets != ALL_LINEAR:
        return f"`targets` is {targets_as_text(targets)}, but {title} wants names of matrices."
    return ""


def whole_alpha_obstacle(job: Job, title: str) -> str:
    """Why a trainer that wants a whole alpha cannot use the recipe's; empty if it can."""
    if job.method.peft_config == "LoraConfig" and job.recipe.alpha % 1:
        return f"`alpha` is {job.recipe.alpha:g}, but {title} takes whole numbers only."
    return ""


def first_of(*obstacles: str) -> str:
    """The first obstacle that is one."""
    return next(filter(None, obstacles), "")


def scheduler(job: Job) -> str:
    """The schedule by transformers' name for it."""
    warmed_up = "constant_with_warmup" if job.batches.warmup_steps else "constant"
    return warmed_up if job.recipe.schedule == "constant" else job.recipe.schedule


def reason_for_warmup(job: Job) -> str:
    """How the warm-up differs by one step."""
    if not job.batches.warmup_steps:
        return ""
    return f"{job.recipe.warmup:.0%} of {job.batches.steps:,} steps; the first has rate 0, in ftdemo a share of it"


def reason_for_batch(job: Job) -> str:
    """How the size of batches was found."""
    if job.recipe.packing:
        return f"packed examples: {job.recipe.batch_tokens:,} tokens at {job.recipe.max_length} per packed example"
    return f"{job.recipe.batch_tokens:,} tokens in ftdemo, {job.batches.average:.1f} examples on average"


def reason_for_decay(job: Job) -> str:
    """Which weights decay."""
    return "ftdemo: matrices alone; here also embeddings, but no norms or biases" if job.recipe.weight_decay else ""


def length(job: Job, epochs: str) -> Setting:
    """How long training lasts: in steps, or in passes under the key that a tool has for them."""
    if job.recipe.max_steps:
        return Setting("max_steps", job.recipe.max_steps)
    return Setting(epochs, job.recipe.epochs, f"about {job.batches.steps:,} steps")


def adapter_options(job: Job, *, dora: str, rank_stabilized: str, ratio: str = "") -> Sequence[Setting]:
    """What a recipe asks of an adapter besides its usual settings, under the keys that a tool has for it."""
    recipe = job.recipe
    options = (
        (dora, job.method.has_magnitudes, True),
        (rank_stabilized, recipe.rank_stabilized, True),
        (ratio, bool(ratio) and recipe.lr_ratio != 1, recipe.lr_ratio),
    )
    return [Setting(key, value) for key, wanted, value in options if wanted]


def long_texts_differ(job: Job) -> Iterator[str]:
    """What becomes of a text that is longer than an example may be."""
    if job.contents.kind == "texts":
        yield f"A text is cut after {job.recipe.max_length} tokens. ftdemo trains a long text in several pieces."


def trainer_settings(job: Job) -> Sequence[Setting]:
    """The arguments of transformers' Trainer that decide the steps; TRL, Unsloth and LLaMA-Factory take them, too."""
    recipe, batches = job.recipe, job.batches
    return [
        Setting("learning_rate", job.learning_rate, job.rate_reason),
        Setting("lr_scheduler_type", scheduler(job)),
        Setting("warmup_steps", batches.warmup_steps, reason_for_warmup(job)),
        Setting("weight_decay", recipe.weight_decay, reason_for_decay(job)),
        Setting("max_grad_norm", MAX_GRAD_NORM, CLIPPED),
        Setting("optim", "adamw_torch", "betas 0.9 and 0.999, as in ftdemo"),
        Setting("per_device_train_batch_size", batches.examples, reason_for_batch(job)),
        Setting("gradient_accumulation_steps", batches.accumulate),
        length(job, "num_train_epochs"),
        Setting("seed", recipe.seed),
        Setting("logging_steps", 1),
        Setting("report_to", "none"),
    ]


def evaluation_settings(job: Job) -> Sequence[Setting]:
    """When transformers' Trainer evaluates and saves."""
    recipe = job.recipe
    settings = []
    if job.evaluates:
        settings += [
            Setting("eval_strategy", "steps", "ftdemo also evaluates after the last step"),
            Setting("eval_steps", recipe.eval_every),
            Setting("per_device_eval_batch_size", job.batches.examples),
        ]
    every = job.saves_every
    settings += [Setting("save_strategy", "steps"), Setting("save_steps", every)] if every else []
    settings += [] if every else [Setting("save_strategy", "no", "the trained model is saved at the end")]
    if job.stops_early:
        settings += [
            Setting("load_best_model_at_end", True, "ftdemo keeps the best weights, too"),
            Setting("metric_for_best_model", "eval_loss"),
            Setting("greater_is_better", False),
        ]
    return settings
