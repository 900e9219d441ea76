"""The page's Python, on a run that is here."""

from __future__ import annotations

from typing import Any

from shown import source

from ftdemo.runs.run import Run


def test_peft_loads_a_run_onto_its_base(lora_run: Run, chat_run: Run) -> None:
    code = source("lora/load.py").replace("HuggingFaceTB/SmolLM2-135M-Instruct", str(chat_run.folder))
    names: dict[str, Any] = {}
    exec(code.replace("runs/…", str(lora_run.folder)), names)
    assert names["model"].get_model_status().enabled
    assert len(names["tokenizer"]) == names["base"].config.vocab_size
