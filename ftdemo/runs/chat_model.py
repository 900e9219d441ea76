"""A model to chat with, opened from any name: a run, an adapter of PEFT, or a model as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftdemo.data import Turn
from ftdemo.errors import UsageError, shell_line
from ftdemo.evaluation.generate import REPLY_TOKENS, stream_reply
from ftdemo.models.catalog import CATALOG
from ftdemo.models.load import load_found, load_ready
from ftdemo.runs.adapters import ADAPTER_CONFIG, find_base, load_adapter
from ftdemo.runs.run import RECORD, Run

_NAMES = tuple(model.name for model in CATALOG.values() if model.answers and model.source != "hub")
"""Models that answer and go by a name."""


@dataclass(frozen=True)
class ChatModel:
    """A model that is ready to answer."""

    model: Any
    tokenizer: Any
    max_new_tokens: int = REPLY_TOKENS

    def reply(self, message: str) -> Iterator[str]:
        """The reply to one message, piece by piece. The message starts a conversation: no earlier one is remembered."""
        turns = [Turn("user", message)]  # the built-in data has one turn a side
        return stream_reply(self.model, self.tokenizer, turns, max_new_tokens=self.max_new_tokens)


def open_chat_model(name: str, base: str | None = None) -> ChatModel:
    """Load what a name leads to.

    Args:
        name: The folder of a run, of an adapter of PEFT or of a model of transformers, or the name of a model.
        base: Where to take the base model of an adapter from, instead of the place that is recorded.

    Raises:
        UsageError: If there is nothing of the kind, or it is a classifier.
        ModelError: If the model cannot be loaded.
    """
    folder = Path(name)
    if _is_adapter(folder):
        return ChatModel(*load_adapter(folder, base))
    if name in _NAMES or _is_foreign(folder, "config.json"):
        return ChatModel(*load_ready(name))
    run = Run.load(folder)
    if run.labels:
        command = shell_line("ftdemo", "evaluate", name)
        raise UsageError(f"{name} is a classifier, which does not chat.", f"Evaluate it: {command}")
    return ChatModel(*run.load_model(base), run.reply_tokens)


def open_base_model(name: str, base: str | None = None) -> ChatModel:
    """Load the model that a run or an adapter started from.

    Args:
        name: The folder of a run, or of an adapter of PEFT.
        base: Where to take that model from, instead of the place that is recorded.

    Raises:
        UsageError: If there is no such model.
        ModelError: If it cannot be loaded.
    """
    folder = Path(name)
    if name in _NAMES:
        raise UsageError(
            f"{name} is not a run, so it has no base to compare with.",
            "Name a run's folder, or another model after `--against`.",
        )
    if _is_adapter(folder):
        return ChatModel(*load_found(find_base(folder, base)))
    loaded = Run.load(folder).load_base(base)
    if loaded is None:
        raise UsageError(f"{name} started from random weights, which cannot answer.", "Leave out `--against`.")
    return ChatModel(*loaded)


def is_adapter(name: str) -> bool:
    """Whether a name leads to a run's adapter, or to one that PEFT or a page of the site has written."""
    folder = Path(name)
    return _is_adapter(folder) or ((folder / RECORD).exists() and Run.load(folder).recipe.is_low_rank)


def _is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter that PEFT or a page of the site has written."""
    return _is_foreign(folder, ADAPTER_CONFIG)


def _is_foreign(folder: Path, file: str) -> bool:
    """Whether a folder holds such a file, but no run."""
    return (folder / file).exists() and not (folder / RECORD).exists()
