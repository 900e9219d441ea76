"""The data sets that ship with the package: where their files lie, and how an answer to them is scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ftdemo.data.support_voice import checker as support_voice

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class BuiltIn:
    """A data set of ours."""

    name: str
    summary: str
    folder: Path
    score: Callable[[str], dict[str, float]]
    """Scores of an answer, each from 0 to 1, from its text alone."""

    @property
    def train(self) -> Path:
        """The training rows, as JSONL."""
        return self.folder / "train.jsonl"

    @property
    def heldout(self) -> Path:
        """The rows that no run trains on, as JSONL."""
        return self.folder / "heldout.jsonl"

    @property
    def card(self) -> Path:
        """The data-set card."""
        return self.folder / "README.md"


BUILT_IN = {
    "support-voice": BuiltIn(
        name="support-voice",
        summary="Customers write to a harbour shop; its crew answers in three labelled lines and a voice of its own.",
        folder=_HERE / "support_voice",
        score=support_voice.score,
    )
}
