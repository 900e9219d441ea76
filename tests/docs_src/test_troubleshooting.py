"""The guide's Python, each block with what its reader has by then: a run, its base, a tokenizer, an example."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import PeftModel
from shown import source
from transformers import AutoModelForCausalLM, AutoTokenizer

from ftdemo.runs.run import Run


@pytest.fixture
def names(lora_run: Run, chat_run: Run) -> dict[str, Any]:
    """What the blocks take for granted."""
    tokenizer = AutoTokenizer.from_pretrained(lora_run.folder)
    inputs = tokenizer("Where is my lamp?", return_tensors="pt")
    answer = tokenizer("It is here.")["input_ids"]
    return {
        "torch": torch,
        "AutoModelForCausalLM": AutoModelForCausalLM,
        "PeftModel": PeftModel,
        "base": AutoModelForCausalLM.from_pretrained(chat_run.folder, dtype=torch.float32),
        "tokenizer": tokenizer,
        "inputs": inputs,
        "row": {"input_ids": [5, 6, *answer], "labels": [-100, -100, *answer]},
    }


def run(name: str, names: dict[str, Any], lora_run: Run, chat_run: Run) -> None:
    """Run a block with the folders of a run and its base where it names some of the reader's."""
    code = source(name).replace("the base's Hub id or folder", str(chat_run.folder))
    exec(code.replace("runs/first", str(lora_run.folder)), names)


def test_the_trained_tokens_of_an_example_are_its_answer(
    names: dict[str, Any], lora_run: Run, chat_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("troubleshooting/trained_tokens.py", names, lora_run, chat_run)
    assert "It is here." in capsys.readouterr().out


def test_the_status_of_an_adapter_says_that_it_is_enabled_and_was_trained(
    names: dict[str, Any], lora_run: Run, chat_run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run("troubleshooting/adapter_status.py", names, lora_run, chat_run)
    status, size = capsys.readouterr().out.rstrip().rsplit("\n", 1)
    assert "enabled=True" in status
    assert float(size) > 0


def test_without_its_adapter_the_model_answers_as_its_base(names: dict[str, Any], lora_run: Run, chat_run: Run) -> None:
    answer = names["base"].generate(**names["inputs"])
    names["model"] = PeftModel.from_pretrained(names["base"], lora_run.folder)
    run("troubleshooting/without_adapter.py", names, lora_run, chat_run)
    assert torch.equal(names["before"], answer)
    assert names["after"].shape[0] == 1


def test_the_merged_model_has_the_same_logits(names: dict[str, Any], lora_run: Run, chat_run: Run) -> None:
    base = names["base"]
    run("troubleshooting/merged_logits.py", names, lora_run, chat_run)
    assert not torch.allclose(names["beside"], base(**names["inputs"]).logits, atol=1e-4)
    assert torch.allclose(names["beside"], names["after"], atol=1e-4)
