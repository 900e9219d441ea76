"""The works, carried out by others on the very same batches: transformers' Trainer and TRL's SFTTrainer."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from typing import Any

from benchmarks.meter import Meter, counts_of, heldout_loss, memory_with_imports
from benchmarks.ours import answer_figures, answering
from benchmarks.works import Figures, Work
from ftdemo.data.tokenize import render
from ftdemo.evaluation.generate import MAX_NEW_TOKENS
from ftdemo.models import load as models
from ftdemo.training import hardware
from ftdemo.training.learner import Learner
from ftdemo.training.loop import plan_run
from ftdemo.training.prepare import prepare

_IGNORED = -100
"""What Trainer's losses take for "no target"."""


def trl_defaults(work: Work) -> Figures:
    """SFTTrainer as it comes: float32 weights, gradient checkpointing."""
    return _trl(work, {}, {})


def trl_tuned(work: Work) -> Figures:
    """SFTTrainer as an expert would set it for a CPU."""
    import torch

    model = {"dtype": torch.bfloat16, "attn_implementation": "eager"}
    return _trl(work, model, {"gradient_checkpointing": False, "bf16": True, "optim": "adamw_torch_fused"})


def trainer(work: Work) -> Figures:
    """Trainer as it comes: float32."""
    return _trainer(work, {})


def trainer_bfloat16(work: Work) -> Figures:
    """Trainer with mixed precision and the fused optimizer."""
    return _trainer(work, {"bf16": True, "optim": "adamw_torch_fused"})


def generate_one_by_one(work: Work) -> Figures:
    """A loop of single `generate` calls."""
    import torch

    imports = memory_with_imports()
    model, tokenizer, rows = answering(work)
    texts = []
    began = time.perf_counter()
    for row in rows:
        prompt = render(row.prompt, tokenizer, to_be_answered=True)
        inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        with torch.inference_mode():
            output = model.generate(
                **inputs, do_sample=False, max_new_tokens=MAX_NEW_TOKENS, pad_token_id=tokenizer.pad_token_id
            )
        texts.append(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return answer_figures(texts, tokenizer, time.perf_counter() - began, imports)


def _trainer(work: Work, settings: dict[str, Any]) -> Figures:
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    imports = memory_with_imports()
    learner = prepare(work.recipe)
    rows = [_as_trainer_row(learner, row) for batch in plan_run(learner) for row in batch]
    with tempfile.TemporaryDirectory() as folder:
        peer = _in_our_order(Trainer, learner)(
            learner.model,
            args=TrainingArguments(output_dir=folder, **_arguments(work), **settings),
            train_dataset=rows,
            data_collator=DataCollatorForSeq2Seq(learner.tokenizer, label_pad_token_id=_IGNORED),
        )
        return _timed(peer, work, learner, imports)


def _trl(work: Work, model_settings: dict[str, Any], settings: dict[str, Any]) -> Figures:
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    imports = memory_with_imports()
    learner = prepare(work.recipe)
    learner = replace(learner, model=None, optimizer=None)  # type: ignore[arg-type]  # the peer loads its own
    hardware.reset_peak_memory(learner.device)
    recipe, examples = work.recipe, [learner.train[place] for batch in plan_run(learner) for (place,) in batch]
    rows = [{"input_ids": [*row.input_ids], "completion_mask": [*map(int, row.completion_mask)]} for row in examples]
    with tempfile.TemporaryDirectory() as folder:
        peer = _in_our_order(SFTTrainer, learner)(
            models.resolve(recipe.model).path,
            args=SFTConfig(
                output_dir=folder,
                model_init_kwargs=model_settings or None,
                completion_only_loss=True,
                **_arguments(work),
                **settings,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=learner.tokenizer,
            peft_config=LoraConfig(
                task_type="CAUSAL_LM", r=recipe.rank, lora_alpha=recipe.alpha, target_modules="all-linear"
            ),
        )
        return _timed(peer, work, learner, imports)


def _arguments(work: Work) -> dict[str, Any]:
    recipe = work.recipe
    return {
        "num_train_epochs": 1,
        "learning_rate": recipe.lr,
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": recipe.warmup,
        "max_grad_norm": 1.0,
        "seed": recipe.seed,
        "report_to": [],
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
        "use_cpu": True,
    }


def _in_our_order(kind: Any, learner: Learner) -> Any:
    """The trainer's class, drawing its batches as our loop does: of as many rows, in the same order."""
    from torch.utils.data import DataLoader

    sizes = [len(batch) for batch in plan_run(learner)]
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    batches = [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]

    class InOurOrder(kind):  # type: ignore[misc]
        """The trainer, with our batches."""

        def get_train_dataloader(self) -> Any:
            """A loader of our batches, in our order."""
            loader = DataLoader(self.train_dataset, batch_sampler=batches, collate_fn=self.data_collator)
            return self.accelerator.prepare(loader)

    return InOurOrder


def _as_trainer_row(learner: Learner, row: list[int]) -> dict[str, list[int]]:
    """A row of one of our batches; packed texts stand one after the other, as Trainer would see them."""
    examples = [learner.train[place] for place in row]
    ids = [token for example in examples for token in example.input_ids]
    trained = [is_trained for example in examples for is_trained in example.completion_mask]
    labels = [token if is_trained else _IGNORED for token, is_trained in zip(ids, trained, strict=True)]
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}


def _timed(peer: Any, work: Work, learner: Learner, imports: int) -> Figures:
    """Train, with the clock running in steps alone."""
    from transformers import TrainerCallback

    plan = plan_run(learner)
    counts = [counts_of(learner, batch) for batch in plan]
    meter = Meter(work, learner, imports)

    class Clock(TrainerCallback):
        """Measures the time spent in steps."""

        seconds = 0.0
        began = 0.0

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            """Start the clock."""
            self.began = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            """Stop the clock while the meter looks."""
            self.seconds += time.perf_counter() - self.began
            meter.look(state.global_step, self.seconds, lambda: heldout_loss(peer.model, learner))
            self.began = time.perf_counter()

    clock = Clock()
    peer.add_callback(clock)
    peer.train()
    losses = [entry["loss"] for entry in peer.state.log_history if "loss" in entry]
    return meter.figures(peer.model, seconds=clock.seconds, losses=losses, steps=counts[: len(losses)])
