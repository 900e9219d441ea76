"""LLaMA-Factory: one YAML file, and a description of the data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ftdemo.runs.elsewhere import common
from ftdemo.runs.elsewhere.job import Job
from ftdemo.runs.elsewhere.tool import Groups, Setting, Tool, as_yaml

_TITLE = "LLaMA-Factory"
_OUTPUT = "output"
_FOLDER = "data"


def _data_set(job: Job, file: str) -> dict[str, Any]:
    name = file.removeprefix(f"{_FOLDER}/")
    if job.contents.kind == "texts":
        return {"file_name": name, "columns": {"prompt": "text"}}
    return {
        "file_name": name,
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    }


def _files(job: Job) -> dict[str, str]:
    data = {"train": _data_set(job, LLAMA_FACTORY.train_file)}
    if job.evaluates:
        data["heldout"] = _data_set(job, LLAMA_FACTORY.heldout_file)
    info = json.dumps(data, indent=2) + "\n"
    return {"config.yaml": as_yaml(_settings(job)), f"{_FOLDER}/dataset_info.json": info}


def _model(job: Job) -> Sequence[Setting]:
    quantized = [
        Setting("quantization_bit", 4),
        Setting("quantization_method", "bnb"),
        Setting("quantization_type", job.method.frozen_format),
        Setting("double_quantization", True),
    ]
    return [
        Setting("model_name_or_path", job.model),
        *(quantized if job.method.frozen_format else []),
        Setting("flash_attn", "sdpa"),
        Setting("disable_gradient_checkpointing", not job.gradient_checkpointing, "LLaMA-Factory's default is false"),
    ]


def _data(job: Job) -> Sequence[Setting]:
    chats = job.contents.kind == "chats"
    mask = [
        Setting("train_on_prompt", not job.masks_prompts, "false: only answers are trained"),
        Setting("mask_history", job.contents.trained == "last", "true: of a conversation, only the last answer"),
    ]
    return [
        Setting("dataset", "train", f"described in {_FOLDER}/dataset_info.json"),
        *([Setting("eval_dataset", "heldout")] if job.evaluates else []),
        Setting("dataset_dir", _FOLDER),
        Setting("cutoff_len", job.recipe.max_length),
        *(mask if chats else []),
        Setting("packing", job.recipe.packing, "for texts, LLaMA-Factory's default is true"),
        *([Setting("neat_packing", True, "packed texts are told apart")] if job.recipe.packing and chats else []),
        Setting("overwrite_cache", True),
    ]


def _adapter(job: Job) -> Sequence[Setting]:
    recipe = job.recipe
    targets = "all" if recipe.targets == common.ALL_LINEAR else ",".join(recipe.targets)
    return [
        Setting("lora_rank", recipe.rank),
        Setting("lora_alpha", round(recipe.alpha), "the update is scaled by alpha / rank"),
        Setting("lora_dropout", 0.0, "ftdemo uses none"),
        Setting("lora_target", targets, "all-linear" if targets == "all" else ""),
        *common.adapter_options(job, dora="use_dora", rank_stabilized="use_rslora", ratio="loraplus_lr_ratio"),
    ]


def _settings(job: Job) -> Groups:
    bf16 = "set it to false on a CPU, or on a GPU older than 2020" if job.recipe.dtype == "auto" else ""
    return {
        "Model": _model(job),
        "Method": [
            Setting("stage", "pt" if job.contents.kind == "texts" else "sft"),
            Setting("do_train", True),
            Setting("finetuning_type", "lora" if job.method.is_low_rank else "full"),
            *(_adapter(job) if job.method.is_low_rank else []),
        ],
        "Data; without `template`, the model's own chat template is used": _data(job),
        "Training": [*common.trainer_settings(job), Setting("bf16", job.recipe.dtype != "float32", bf16)],
        "Evaluation and output": [
            *common.evaluation_settings(job),
            *([Setting("early_stopping_steps", job.recipe.patience, "evaluations")] if job.stops_early else []),
            Setting("output_dir", _OUTPUT),
        ],
    }


def _obstacle(job: Job) -> str:
    return common.first_of(
        common.common_obstacle(job),
        common.masking_obstacle(job, _TITLE),
        common.adapter_obstacle(job, _TITLE),
        common.names_obstacle(job, _TITLE),
        common.whole_alpha_obstacle(job, _TITLE),
    )


def _differs(job: Job) -> Iterator[str]:
    if job.contents.kind == "chats" and job.continues_after_stop and job.masks_prompts:
        yield "LLaMA-Factory also trains what the chat template writes after the stop token, often a line end."
    if job.batches.too_long:
        yield "LLaMA-Factory shortens the prompt and the answer of a long example; ftdemo cuts its end."
    if job.method.is_low_rank:
        yield "The adapter's first weights are drawn in another way. Only the loss of the first step can be equal."
    yield from common.long_texts_differ(job)


LLAMA_FACTORY: Tool = Tool(
    name="llama-factory",
    title=_TITLE,
    package=_TITLE,
    version="0.9.5",
    settings=_settings,
    obstacle=_obstacle,
    files=_files,
    rows=common.messages_or_text,
    train_file=f"{_FOLDER}/train.jsonl",
    heldout_file=f"{_FOLDER}/heldout.jsonl",
    install=lambda job: [
        f'pip install "llamafactory=={LLAMA_FACTORY.version}"{" bitsandbytes" if job.method.frozen_format else ""}'
    ],
    run=lambda _job: ["llamafactory-cli train config.yaml"],
    result=f"`{_OUTPUT}/`",
    differs=_differs,
)
