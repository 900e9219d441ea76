"""The first losses of our loop against those of TRL's SFTTrainer: same rows, same order, same LoRA weights, float32.

TRL finds the trained tokens by another way, the `generation` marks of a chat template, so the masks check each other.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from conftest import QUICK

from ftdemo.events import Step
from ftdemo.methods import Learner, prepare
from ftdemo.train import train

MARKED_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
)
ROWS_A_STEP, STEPS = 4, 3
RECIPE = QUICK.with_settings(
    {"examples": 12, "epochs": 1, "batch_tokens": 4096, "max_steps": None, "schedule": "constant", "warmup": 0}
)


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Our losses, in steps of four rows in the order of the data."""

    def in_order(examples: Any, **_settings: Any) -> list[list[Any]]:
        return [list(examples[start : start + ROWS_A_STEP]) for start in range(0, len(examples), ROWS_A_STEP)]

    monkeypatch.setattr("ftdemo.train.plan_batches", in_order)
    return [event for event in train(RECIPE, prepare(RECIPE)) if isinstance(event, Step)]


def trl_losses(learner: Learner, folder: Path) -> list[float]:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    tokenizer = copy.deepcopy(learner.tokenizer)
    tokenizer.chat_template = MARKED_TEMPLATE
    config = SFTConfig(
        output_dir=str(folder),
        assistant_only_loss=True,
        per_device_train_batch_size=ROWS_A_STEP,
        num_train_epochs=1,
        learning_rate=RECIPE.lr,
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        train_sampling_strategy="sequential",
        logging_steps=1,
        logging_first_step=True,
        report_to=[],
        save_strategy="no",
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        max_length=512,
        disable_tqdm=True,
    )
    rows = Dataset.from_list([{"messages": row.messages} for row in learner.splits.train])
    trainer = SFTTrainer(learner.model, args=config, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_the_first_losses_equal_those_of_trl(ours: list[Step], tmp_path: Path) -> None:
    theirs = trl_losses(prepare(RECIPE), tmp_path)
    assert len(ours) == len(theirs) == STEPS
    # 1e-3 is asked for; the first loss differs by summation order alone, later ones by what AdamW makes of that
    assert [step.loss for step in ours] == pytest.approx(theirs, abs=1e-3)
