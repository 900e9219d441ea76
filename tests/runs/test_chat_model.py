"""What a name leads to, and who answers: a run, an adapter of PEFT, or a model as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ftdemo.errors import UsageError
from ftdemo.runs.chat_model import ChatModel, open_base_model, open_chat_model
from ftdemo.runs.run import RECORD, Run

QUESTION = "Where is my rope?"


def without_record(run: Run, folder: Path) -> str:
    """A copy of a run's folder as somebody else would have written it."""
    shutil.copytree(run.folder, folder)
    (folder / RECORD).unlink()
    return str(folder)


def replies(*models: ChatModel) -> set[str]:
    return {"".join(model.reply(QUESTION)) for model in models}


def test_an_adapter_answers_the_same_as_a_run_and_as_a_folder_of_peft(lora_run: Run, tmp_path: Path) -> None:
    folder = without_record(lora_run, tmp_path / "adapter")
    base = lora_run.recipe.model
    assert len(replies(open_chat_model(str(lora_run.folder)), open_chat_model(folder, base))) == 1


def test_a_model_answers_the_same_as_a_run_and_as_a_folder_of_transformers(chat_run: Run, tmp_path: Path) -> None:
    folder = without_record(chat_run, tmp_path / "model")
    assert len(replies(open_chat_model(str(chat_run.folder)), open_chat_model(folder))) == 1


def test_the_base_of_an_adapter_is_the_model_that_it_was_trained_on(lora_run: Run) -> None:
    base = open_base_model(str(lora_run.folder))
    assert replies(base) == replies(open_chat_model(lora_run.recipe.model))


@pytest.mark.parametrize(
    ("name", "what"),
    [("tiny", "tiny is not a run, so it has no base to compare with."), ("nowhere", "nowhere holds no run")],
)
def test_a_name_that_leads_to_no_run_has_no_base(name: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        open_base_model(name)


def test_a_model_that_started_from_random_weights_has_no_base(chat_run: Run) -> None:
    with pytest.raises(UsageError, match="started from random weights"):
        open_base_model(str(chat_run.folder))
