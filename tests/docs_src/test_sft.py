"""The page's example as SmolLM2 reads it, and what `ftdemo inspect` is asked to show."""

from __future__ import annotations

import pytest
from shown import SOURCES, commands, ftdemo, source


def test_the_example_is_read_as_shown() -> None:
    example = SOURCES / "sft/example.jsonl"
    printed = ftdemo(["ftdemo", "inspect", str(example), "--model", "smollm2", "--rows", "1"])
    assert source("sft/example.txt") in printed.replace("⟦", "[").replace("⟧", "]")


@pytest.mark.parametrize("words", commands("sft/inspect.sh"), ids=" ".join)
def test_an_example_is_shown_with_its_trained_tokens(words: list[str]) -> None:
    printed = ftdemo(words)
    assert printed.startswith("example 1: ")
    assert "⟦" in printed
