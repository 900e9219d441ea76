"""The data sets that ship with the package: their files or generators, and how an answer to them is scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ftdemo.data.sets import harbour_tales, high_street, tickets
from ftdemo.data.sets.support_voice import checker as support_voice
from ftdemo.data.trial import Trial

_HERE = Path(__file__).parent / "sets"


@dataclass(frozen=True)
class BuiltIn:
    """A data set that ships with the package."""

    name: str
    summary: str
    folder: Path
    score: Callable[[str], dict[str, float]] | None = None
    """Scores an answer by its text alone, each score from 0 to 1."""
    fields: tuple[str, ...] = ()
    """Keys of the JSON object that an answer should be, each scored on its own."""
    documents: Callable[[int], Iterator[str]] | None = None
    """Endless texts from a seed, where the set is generated and has no files."""
    graded: Callable[[int], Iterator[str]] | None = None
    """Endless texts that are trained on instead, in this order: from easy to hard."""
    turns: Callable[[str], list[str]] | None = None
    """The turns of user and assistant in a generated text that is a chat; empty for any other text."""
    trials: Callable[[int], Iterator[Trial]] | None = None
    """Endless trials from a seed, for a set of generated texts."""
    pairs: Callable[..., Iterator[dict[str, Any]]] | None = None
    """Endless rows from a seed, as parsed lines of JSON; the held-out ones with ``heldout=True``."""
    default_rows: int = 0
    """How many generated rows to train on, unless a recipe names a number."""

    @property
    def train(self) -> Path:
        """The training examples, as JSONL."""
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
    "tickets": BuiltIn(
        name="tickets",
        summary="Customers write to a household shop; each message becomes a JSON ticket with five fields.",
        folder=_HERE / "tickets",
        fields=tickets.FIELDS,
    ),
    "replies": BuiltIn(
        name="replies",
        summary="Notes of a shop's agent, each with the reply to the customer in three labelled lines.",
        folder=_HERE / "replies",
    ),
    "routing": BuiltIn(
        name="routing",
        summary="Messages to a household shop, each with the one of eight teams that should answer it.",
        folder=_HERE / "routing",
    ),
    "handbook": BuiltIn(
        name="handbook",
        summary="Questions about a hundred facts of a household shop's staff handbook, worded in four ways.",
        folder=_HERE / "handbook",
    ),
    "support-voice": BuiltIn(
        name="support-voice",
        summary="Customers write to a harbour shop; its crew answers in three labelled lines and a voice of its own.",
        folder=_HERE / "support_voice",
        score=support_voice.score,
    ),
    "shop-mail": BuiltIn(
        name="shop-mail",
        summary="Short messages to the harbour shop, to be sorted by what the customer wants: six labels.",
        folder=_HERE / "shop_mail",
    ),
    "harbour-tales": BuiltIn(
        name="harbour-tales",
        summary="Generated stories, letters, notices and questions about one small harbour town, for pre-training.",
        folder=_HERE / "harbour_tales",
        documents=harbour_tales.documents,
        turns=harbour_tales.turns,
        trials=harbour_tales.trials,
        default_rows=20_000,
    ),
    "high-street": BuiltIn(
        name="high-street",
        summary="Generated messages, records, replies, questions and stories about shops, to pre-train on.",
        folder=_HERE / "high_street",
        documents=high_street.documents,
        turns=high_street.turns,
        trials=high_street.trials,
        default_rows=20_000,
    ),
    "high-street-graded": BuiltIn(
        name="high-street-graded",
        summary="The texts of high-street from easy to hard: they begin with drills in copying, which thin out.",
        folder=_HERE / "high_street",
        documents=high_street.documents,
        graded=high_street.graded,
        turns=high_street.turns,
        trials=high_street.trials,
        default_rows=20_000,
    ),
    "high-street-lists": BuiltIn(
        name="high-street-lists",
        summary="Generated price lists, bills, opening hours and packing lists, to watch pre-training in a minute.",
        folder=_HERE / "high_street_lists",
        documents=high_street.lists,
        default_rows=1_000,
    ),
    "high-street-tickets": BuiltIn(
        name="high-street-tickets",
        summary="Generated messages to a household shop; each becomes a JSON ticket with five fields.",
        folder=_HERE / "high_street_tickets",
        fields=tickets.FIELDS,
        pairs=high_street.pairs,
        default_rows=96,
    ),
    "short-tickets": BuiltIn(
        name="short-tickets",
        summary="Generated messages of sixteen kinds to a household shop; each becomes a ticket of three fields.",
        folder=_HERE / "short_tickets",
        fields=high_street.SHORT_FIELDS,
        pairs=high_street.short_pairs,
        default_rows=160,
    ),
    "high-street-requests": BuiltIn(
        name="high-street-requests",
        summary="Generated messages to a household shop, each with a request about it and exactly what was asked for.",
        folder=_HERE / "high_street_requests",
        pairs=high_street.requests,
        default_rows=96,
    ),
    "story-requests": BuiltIn(
        name="story-requests",
        summary="Generated requests for a story about two things, and stories of the harbour town in which both occur.",
        folder=_HERE / "story_requests",
        score=harbour_tales.score_story,
        pairs=harbour_tales.story_requests,
        default_rows=500,
    ),
    "ship-logs": BuiltIn(
        name="ship-logs",
        summary="Generated questions about a voyage, each answered by a ship's log with the times of the day.",
        folder=_HERE / "ship_logs",
        score=harbour_tales.score_log,
        pairs=harbour_tales.ship_logs,
        default_rows=120,
    ),
}
GENERAL_KNOWLEDGE = _HERE / "general_knowledge"
"""Texts and questions of general knowledge, by which forgetting is measured."""
