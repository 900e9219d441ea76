"""The head of a model's card."""

from __future__ import annotations

from huggingface_hub import ModelCard
from shown import source


def test_the_hub_reads_the_head() -> None:
    head = source("model-card/metadata.yaml")
    data = ModelCard(f"---\n{head}---\n\n# A model\n").data
    assert (data.license, data.library_name) == ("apache-2.0", "peft")
    assert data.base_model == "HuggingFaceTB/SmolLM2-135M-Instruct"
