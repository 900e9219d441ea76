"""The first losses of our loop against those of TRL's SFTTrainer: same rows, same order, same weights, float32.

TRL finds the trained tokens by another way, the `generation` marks of a chat template, so the masks check each other.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ftdemo.data import BUILT_IN, Row, stream_rows
from ftdemo.events import Step
from ftdemo.models.new import new_llama
from ftdemo.recipe import Recipe
from ftdemo.training.learner import Learner
from ftdemo.training.loop import train
from ftdemo.training.prepare import prepare

MARKED_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}"
    "{% endif %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
)
ROWS_A_STEP, STEPS = 2, 3
SETTINGS: dict[str, Any] = {"dtype": "float32", "schedule": "constant", "warmup": 0}
SHOP = ({"role": "system", "content": "You answer for an online shop. Be brief."},)
TALKS: tuple[tuple[str, ...], ...] = (
    ("Is it open?", "Until six, Pip is in.", "And on Sunday?", "Closed: the tide is out."),
    ("Rope?", "Hemp or nylon?", "Hemp.", "Aisle two, by the anchors.", "Ten metres, please.", "Cut and coiled."),
    ("Who answers letters?", "Whoever is ashore.", "Today?", "Marlow, and she is slow but kind."),
)
"""Conversations of two or three turns a side; user first, then turn about."""


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rows in a file: letters with one answer, and talks with several, each of which is trained."""
    letters = (row.messages for row in stream_rows(BUILT_IN["replies"].train) if isinstance(row, Row))
    mixed = [row for talk in TALKS for row in (next(letters), messages(talk))]
    file = tmp_path_factory.mktemp("data") / "rows.jsonl"
    file.write_text("\n".join(json.dumps({"messages": row}) for row in mixed), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def small_llama(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of random weights that reads with SmolLM2's tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    new_llama(tokenizer, width=64, layers=2, length=512).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def messages(talk: Sequence[str]) -> list[dict[str, str]]:
    """The turns of a talk; the longest talk begins with a system prompt of its own."""
    turns = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(talk)]
    return [*SHOP, *turns] if len(talk) > 4 else turns


def our_losses(learner: Learner, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Our losses, in steps of two rows in the order of the data."""

    def in_order(lengths: Sequence[int], **_settings: Any) -> list[list[list[int]]]:
        places = range(len(lengths))
        return [[[place] for place in places[start:][:ROWS_A_STEP]] for start in places[::ROWS_A_STEP]]

    monkeypatch.setattr("ftdemo.training.loop.plan_batches", in_order)
    return [event.loss for event in train(learner.recipe, learner) if isinstance(event, Step)]


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
        learning_rate=learner.recipe.lr,
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
    dataset = Dataset.from_list([{"messages": row.messages} for row in learner.splits.train if isinstance(row, Row)])
    trainer = SFTTrainer(learner.model, args=config, train_dataset=dataset, processing_class=tokenizer)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def assert_as_trl(recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = our_losses(prepare(recipe), monkeypatch)
    theirs = trl_losses(prepare(recipe), folder)
    print(f"{recipe.method}: ours {ours}, theirs {theirs}")
    assert len(ours) == len(theirs) == STEPS
    # 1e-3 is asked for; the first loss differs by summation order alone, later ones by what AdamW makes of that
    assert ours == pytest.approx(theirs, abs=1e-3)


@pytest.mark.slow
def test_the_first_losses_of_lora_on_smollm2_equal_those_of_trl_on_letters_and_on_longer_talks(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(**SETTINGS, method="lora", model="smollm2", data=str(rows), lr=1e-3)
    assert_as_trl(recipe, tmp_path, monkeypatch)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_first_losses_equal_those_of_trl_on_letters_and_on_longer_talks(
    method: str, rows: Path, small_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(**SETTINGS, method=method, model=str(small_llama), data=str(rows), lr=1e-3)
    assert_as_trl(recipe, tmp_path, monkeypatch)
