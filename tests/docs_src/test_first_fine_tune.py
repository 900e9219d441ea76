"""The guide's commands, in its order: what it shows is what they print."""

from __future__ import annotations

from pathlib import Path

import pytest
from shown import commands, ftdemo, lacking, source

OF_THE_MACHINE = ("cpu, ", "multiplies bfloat16", "completed: ")
"""Lines that are about the processor and its speed."""


def test_the_first_example_is_as_shown() -> None:
    (words,) = commands("first-fine-tune/inspect.sh")
    assert ftdemo(words) == source("first-fine-tune/inspect.txt")


@pytest.mark.slow
def test_training_evaluating_and_chatting_print_what_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (train,) = commands("first-fine-tune/train.sh")
    (evaluate,) = commands("first-fine-tune/evaluate.sh")
    (chat,) = commands("first-fine-tune/chat.sh")
    trained = ftdemo(train)
    missing = lacking(source("first-fine-tune/train.txt"), trained)
    assert [line for line in missing if not line.startswith(OF_THE_MACHINE)] == []
    assert lacking(source("first-fine-tune/answers.txt"), trained) == []
    assert lacking(source("first-fine-tune/evaluate.txt"), ftdemo(evaluate)) == []
    conversation = source("first-fine-tune/chat.txt")
    typed = [line.removeprefix("you> ") for line in conversation.splitlines() if line.startswith("you> ")]
    said = ftdemo(chat, "\n".join([*typed, "", ""]))
    assert [line for line in conversation.splitlines() if line.startswith("{") and line not in said] == []
