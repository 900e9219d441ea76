"""Unsloth: TRL's trainer on a model that Unsloth loads and speeds up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ftdemo.runs.elsewhere import common
from ftdemo.runs.elsewhere.job import Job
from ftdemo.runs.elsewhere.peft_trl import sft_settings
from ftdemo.runs.elsewhere.tool import Code, Groups, Setting, Tool, as_arguments, from_template

_TITLE = "Unsloth"
_OUTPUT = "output"


def _load_settings(job: Job) -> Sequence[Setting]:
    recipe = job.recipe
    four_bits = bool(job.method.frozen_format)
    by_device = "by the device; float16 on GPUs without bfloat16, where ftdemo uses float32"
    return [
        Setting("model_name", job.model),
        Setting("max_seq_length", recipe.max_length),
        Setting("dtype", None, by_device)
        if recipe.dtype == "auto"
        else Setting("dtype", Code(f"torch.{recipe.dtype}"), "set in the recipe"),
        Setting("load_in_4bit", four_bits, "Unsloth's default is True"),
        Setting("full_finetuning", not job.method.is_low_rank),
        Setting("random_state", recipe.seed),
        *([Setting("use_gradient_checkpointing", job.gradient_checkpointing)] if not job.method.is_low_rank else []),
    ]


def _adapter_settings(job: Job) -> Sequence[Setting]:
    recipe = job.recipe
    targets = recipe.targets if isinstance(recipe.targets, str) else list(recipe.targets)
    checkpointing = "unsloth" if job.gradient_checkpointing else False
    return [
        Setting("r", recipe.rank),
        Setting("target_modules", targets),
        Setting("lora_alpha", recipe.alpha, "the update is scaled by alpha / r"),
        Setting("lora_dropout", 0.0, "ftdemo uses none"),
        Setting("bias", "none"),
        Setting("use_gradient_checkpointing", checkpointing, 'Unsloth\'s default is "unsloth"'),
        Setting("random_state", recipe.seed, "draws the adapter, in another way than ftdemo"),
        Setting("use_rslora", recipe.rank_stabilized),
    ]


def _mask_settings(job: Job) -> Sequence[Setting]:
    if not job.masks_prompts:
        return []
    parts = [
        Setting("instruction_part", job.chat.user_part if job.chat else None),
        Setting("response_part", job.chat.answer_part if job.chat else None),
    ]
    known = parts if job.chat else []  # without them, Unsloth finds them in the chat template
    return [*known, Setting("last_response_only", job.contents.trained == "last")]


def _settings(job: Job) -> Groups:
    trainer = [
        *common.trainer_settings(job),
        *common.evaluation_settings(job),
        *sft_settings(job),
        Setting("dataset_text_field", "text"),
        Setting("output_dir", _OUTPUT),
    ]
    adapter = {"get_peft_model": _adapter_settings(job)} if job.method.is_low_rank else {}
    mask = {"train_on_responses_only": _mask_settings(job)} if job.masks_prompts else {}
    return {"from_pretrained": _load_settings(job), **adapter, "SFTConfig": trainer, **mask}


def _files(job: Job) -> dict[str, str]:
    blocks = {name: as_arguments(settings) for name, settings in _settings(job).items()}
    script = from_template(
        "unsloth.py.j2",
        job=job,
        version=UNSLOTH.version,
        blocks=blocks,
        after_stop=job.chat.after_stop if job.chat else "\n",
        train=UNSLOTH.train_file,
        heldout=UNSLOTH.heldout_file,
        output=_OUTPUT,
    )
    return {"train.py": script}


def _obstacle(job: Job) -> str:
    return common.first_of(
        common.common_obstacle(job),
        common.masking_obstacle(job, _TITLE),
        common.adapter_obstacle(job, _TITLE, dora=False, ratio=False),
    )


def _differs(job: Job) -> Iterator[str]:
    if job.method.is_low_rank:
        yield "Unsloth draws the adapter's first weights in another way. Only the loss of the first step can be equal."
    if job.contents.conversations_with_several and job.masks_prompts:
        yield "In a conversation, Unsloth also trains what the template writes between two turns. ftdemo does not."
    yield from common.long_texts_differ(job)


UNSLOTH: Tool = Tool(
    name="unsloth",
    title=_TITLE,
    package=_TITLE,
    version="2026.10.9",
    settings=_settings,
    obstacle=_obstacle,
    files=_files,
    rows=common.messages_or_text,
    train_file="train.jsonl",
    heldout_file="heldout.jsonl",
    install=lambda _job: [f'pip install "unsloth=={UNSLOTH.version}"'],
    run=lambda _job: ["python train.py"],
    result=f"`{_OUTPUT}/`",
    differs=_differs,
)
