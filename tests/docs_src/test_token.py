"""The message that the page splits into tokens."""

from __future__ import annotations

from typing import Any

from shown import source


def test_smollm2_splits_the_message_as_shown(tokenizer: Any) -> None:
    shown = source("token/tokens.txt").rstrip("\n").split("|")
    ids = tokenizer("".join(shown), add_special_tokens=False)["input_ids"]
    assert [tokenizer.decode([token]) for token in ids] == shown
