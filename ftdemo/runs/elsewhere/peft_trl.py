"""TRL's SFTTrainer with an adapter of PEFT's: a script whose first losses equal ftdemo's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ftdemo.data import AnyRow, Row
from ftdemo.runs.elsewhere import common
from ftdemo.runs.elsewhere.job import Job
from ftdemo.runs.elsewhere.tool import Code, Groups, Setting, Tool, as_arguments, from_template

_TITLE = "TRL"
_TEMPLATE_FILE = "chat_template.jinja"
OUTPUT = "output"


def _needs_pairs(job: Job) -> bool:
    """Whether rows are written as prompt and completion: where no template marks the answers that are trained."""
    if not job.masks_prompts:
        return False
    is_marked = job.chat is not None and job.chat.marked_template is not None
    return not job.contents.conversations_with_several and not (is_marked and job.contents.trained == "every")


def _rows(job: Job, row: AnyRow) -> Iterator[dict[str, Any]]:
    if not (_needs_pairs(job) and isinstance(row, Row)):
        return common.messages_or_text(job, row)
    messages = common.as_messages(row)
    return iter([{"prompt": messages[:-1], "completion": messages[-1:]}])


def sft_settings(job: Job, *, length_key: str = "max_length") -> Sequence[Setting]:
    """The arguments of SFTConfig that say how long examples are and how they are packed."""
    recipe = job.recipe
    packed = "packed texts are told apart only with FlashAttention; in ftdemo always" if recipe.packing else ""
    return [
        Setting(length_key, recipe.max_length, "longer examples lose their end, as in ftdemo"),
        Setting("packing", recipe.packing, packed),
    ]


def _mask_settings(job: Job) -> Sequence[Setting]:
    if not job.masks_prompts:
        return [Setting("assistant_only_loss", False, "all tokens are trained")]
    if _needs_pairs(job):
        return [Setting("completion_only_loss", True, "trains the last answer, and what the template writes after it")]
    if job.chat and job.chat.marked_template:
        return [
            Setting("assistant_only_loss", True, "trains answers with their stop token, which the template marks"),
            Setting("chat_template_path", _TEMPLATE_FILE, "the model's own, with the answers marked"),
        ]
    return [Setting("assistant_only_loss", True, "TRL knows the templates of many models, and stops at any other")]


def _number_format(job: Job) -> Setting:
    if job.recipe.dtype != "auto":
        return Setting("bf16", job.recipe.dtype == "bfloat16", "set in the recipe")
    return Setting("bf16", Code("has_bfloat16"), "by the device, as in ftdemo")


def adapter_settings(job: Job) -> Sequence[Setting]:
    """The arguments of PEFT's configuration."""
    recipe = job.recipe
    targets = recipe.targets if isinstance(recipe.targets, str) else list(recipe.targets)
    if job.method.peft_config == "VeraConfig":
        return [
            Setting("task_type", "CAUSAL_LM"),
            Setting("r", recipe.rank),
            Setting("target_modules", targets),
            Setting("projection_prng_key", recipe.seed),
        ]
    scale = "sqrt(r)" if recipe.rank_stabilized else "r"
    return [
        Setting("task_type", "CAUSAL_LM"),
        Setting("r", recipe.rank),
        Setting("lora_alpha", recipe.alpha, f"the update is scaled by alpha / {scale}"),
        Setting("lora_dropout", 0.0, "ftdemo uses none"),
        Setting("target_modules", targets),
        *common.adapter_options(job, dora="use_dora", rank_stabilized="use_rslora"),
    ]


def _settings(job: Job) -> Groups:
    checkpointing = Setting("gradient_checkpointing", job.gradient_checkpointing, "TRL's default is True")
    sft = [
        *common.trainer_settings(job),
        *common.evaluation_settings(job),
        *sft_settings(job),
        *_mask_settings(job),
        _number_format(job),
        checkpointing,
        Setting("output_dir", OUTPUT),
    ]
    return {"SFTConfig": sft, **({job.method.peft_config: adapter_settings(job)} if job.method.peft_config else {})}


def _files(job: Job) -> dict[str, str]:
    groups = _settings(job)
    script = from_template(
        "peft_trl.py.j2",
        job=job,
        version=TRL.version,
        sft=as_arguments(groups["SFTConfig"], indent=4),
        adapter=as_arguments(groups[job.method.peft_config], indent=8) if job.method.peft_config else "",
        train=TRL.train_file,
        heldout=TRL.heldout_file,
        output=OUTPUT,
    )
    template = job.chat.marked_template if job.chat and job.masks_prompts and not _needs_pairs(job) else None
    return {"train.py": script, **({_TEMPLATE_FILE: template} if template else {})}


def _obstacle(job: Job) -> str:
    return common.first_of(
        common.common_obstacle(job),
        common.masking_obstacle(job, _TITLE),
        common.adapter_obstacle(job, _TITLE, vera=True),
    )


def _differs(job: Job) -> Iterator[str]:
    if _needs_pairs(job) and job.continues_after_stop:
        yield "TRL also trains what the chat template writes after the stop token, often a line end. ftdemo does not."
    if job.contents.kind == "texts":
        yield f"TRL cuts a text after {job.recipe.max_length} tokens. ftdemo trains a long text in several pieces."
    if job.recipe.dtype == "auto" and not job.method.is_low_rank:
        yield "As in ftdemo, weights are stored in float32, and only products are in bfloat16 where the GPU has it."


def _install(job: Job) -> Sequence[str]:
    quantizer = " bitsandbytes" if job.method.frozen_format else ""
    return [f'pip install "trl=={TRL.version}" peft{quantizer}']


TRL: Tool = Tool(
    name="peft-trl",
    title="PEFT + TRL",
    package="TRL",
    version="1.16.0",
    settings=_settings,
    obstacle=_obstacle,
    files=_files,
    rows=_rows,
    train_file="train.jsonl",
    heldout_file="heldout.jsonl",
    install=_install,
    run=lambda _job: ["python train.py"],
    result=f"`{OUTPUT}/`",
    differs=_differs,
)
