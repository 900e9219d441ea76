"""Axolotl: one YAML file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ftdemo.data import AnyRow, Row
from ftdemo.runs.elsewhere import common
from ftdemo.runs.elsewhere.job import Job
from ftdemo.runs.elsewhere.tool import Groups, Setting, Tool, as_yaml

_TITLE = "Axolotl"
_OUTPUT = "output"
_TRAIN_KEY = "train"


def _rows(job: Job, row: AnyRow) -> Iterator[dict[str, Any]]:
    if job.contents.trained != "some" or not isinstance(row, Row):
        return common.messages_or_text(job, row)
    marked = zip(common.as_messages(row), row.turns, strict=True)
    return iter([{"messages": [{**message, _TRAIN_KEY: _is_trained(turn)} for message, turn in marked]}])


def _is_trained(turn: Any) -> bool:
    return bool(turn.role == "assistant" and turn.train)


def _data_set(job: Job, file: str) -> dict[str, Any]:
    if job.contents.kind == "texts":
        return {"path": file, "ds_type": "json", "type": "completion", "field": "text"}
    masked = {"roles_to_train": ["assistant"], "train_on_eos": "turn"} if job.masks_prompts else {}
    return {
        "path": file,
        "ds_type": "json",
        "type": "chat_template",
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
        **masked,
        **({"message_field_training": _TRAIN_KEY} if job.contents.trained == "some" else {}),
    }


def _data(job: Job) -> Sequence[Setting]:
    mask = "only answers and their stop token are trained" if job.masks_prompts else "all tokens are trained"
    heldout = [{**_data_set(job, AXOLOTL.heldout_file), "split": "train"}]
    packed = "packed texts are told apart, as in ftdemo" if job.recipe.packing else ""
    return [
        Setting("datasets", [_data_set(job, AXOLOTL.train_file)], mask),
        *([Setting("test_datasets", heldout)] if job.evaluates else []),
        *([Setting("chat_template", "tokenizer_default", "the model's own")] if job.contents.kind == "chats" else []),
        Setting("train_on_inputs", not job.masks_prompts),
        Setting("dataset_prepared_path", "prepared"),
        Setting("sequence_len", job.recipe.max_length),
        Setting("excess_length_strategy", "truncate", "ftdemo cuts; Axolotl's default drops the example"),
        Setting("sample_packing", job.recipe.packing, packed),
        Setting("pad_to_sequence_len", False, "pads to the longest example of a batch, as ftdemo does"),
    ]


def _adapter(job: Job) -> Sequence[Setting]:
    recipe, method = job.recipe, job.method
    targets = (
        Setting("lora_target_linear", True, "all-linear")
        if recipe.targets == common.ALL_LINEAR
        else Setting("lora_target_modules", recipe.targets if isinstance(recipe.targets, str) else [*recipe.targets])
    )
    return [
        Setting("adapter", "qlora" if method.frozen_format else "lora"),
        Setting("load_in_4bit", bool(method.frozen_format)),
        Setting("lora_r", recipe.rank),
        Setting("lora_alpha", round(recipe.alpha), "the update is scaled by alpha / r"),
        Setting("lora_dropout", 0.0, "ftdemo uses none"),
        targets,
        *common.adapter_options(
            job, dora="peft_use_dora", rank_stabilized="peft_use_rslora", ratio="loraplus_lr_ratio"
        ),
    ]


def _steps(job: Job) -> Sequence[Setting]:
    recipe, batches = job.recipe, job.batches
    float32 = recipe.dtype == "float32"
    by_device = "by the device, as in ftdemo" if recipe.dtype == "auto" else "set in the recipe"
    return [
        Setting("optimizer", "adamw_torch", "betas 0.9 and 0.999, as in ftdemo"),
        Setting("learning_rate", job.learning_rate, job.rate_reason),
        Setting("lr_scheduler", common.scheduler(job)),
        Setting("warmup_steps", batches.warmup_steps, common.reason_for_warmup(job)),
        Setting("weight_decay", recipe.weight_decay, common.reason_for_decay(job)),
        Setting("max_grad_norm", common.MAX_GRAD_NORM, common.CLIPPED),
        Setting("micro_batch_size", batches.examples, common.reason_for_batch(job)),
        Setting("gradient_accumulation_steps", batches.accumulate),
        common.length(job, "num_epochs"),
        Setting("seed", recipe.seed),
        Setting("bf16", {"auto": "auto", "bfloat16": True, "float32": False}[recipe.dtype], by_device),
        *([Setting("float32", True)] if float32 else []),
        Setting("tf32", False, "ftdemo does not round float32 products"),
        Setting("gradient_checkpointing", job.gradient_checkpointing),
    ]


def _evaluation(job: Job) -> Sequence[Setting]:
    recipe = job.recipe
    stops, every = job.stops_early, job.saves_every
    return [
        *([Setting("eval_strategy", "steps"), Setting("eval_steps", recipe.eval_every)] if job.evaluates else []),
        *([Setting("early_stopping_patience", recipe.patience)] if stops else []),
        *([Setting("load_best_model_at_end", True, "ftdemo keeps the best weights, too")] if stops else []),
        Setting("save_strategy", "steps" if every else "no", "the trained model is saved at the end"),
        *([Setting("save_steps", every)] if every else []),
        Setting("logging_steps", 1),
        Setting("output_dir", _OUTPUT),
    ]


def _settings(job: Job) -> Groups:
    return {
        "Model": [Setting("base_model", job.model)],
        "Data": _data(job),
        **({"Adapter": _adapter(job)} if job.method.is_low_rank else {}),
        "Training": _steps(job),
        "Evaluation and output": _evaluation(job),
    }


def _obstacle(job: Job) -> str:
    return common.first_of(
        common.common_obstacle(job),
        common.adapter_obstacle(job, _TITLE),
        common.whole_alpha_obstacle(job, _TITLE),
        _half_marked(job),
    )


def _half_marked(job: Job) -> str:
    if job.recipe.train_on == "all" and job.contents.trained != "every":
        return "`train_on` is all, but the data marks answers that are not trained."
    return ""


def _differs(job: Job) -> Iterator[str]:
    if job.method.is_low_rank:
        yield "Axolotl draws the adapter's first weights in another way. Only the loss of the first step can be equal."
    yield from common.long_texts_differ(job)


AXOLOTL: Tool = Tool(
    name="axolotl",
    title=_TITLE,
    package=_TITLE,
    version="0.19.0",
    settings=_settings,
    obstacle=_obstacle,
    files=lambda job: {"config.yaml": as_yaml(_settings(job))},
    rows=_rows,
    train_file="data/train.jsonl",
    heldout_file="data/heldout.jsonl",
    install=lambda _job: [f'pip install "axolotl=={AXOLOTL.version}"'],
    run=lambda _job: ["axolotl train config.yaml"],
    result=f"`{_OUTPUT}/`",
    differs=_differs,
)
