"""What tests share: the real model, loaded and converted once, and one short real run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ftdemo import models
from ftdemo.events import Event, Started
from ftdemo.recipe import Recipe
from ftdemo.run import Run, perform

QUICK = Recipe(
    examples=12, max_steps=4, epochs=4, batch_tokens=256, lr=1e-3, sample_prompts=2, eval_every=2, dtype="float32"
)
"""A few real steps on SmolLM2 in float32, so that numbers can be compared closely."""

STARTED = Started(
    examples=144,
    heldout_examples=12,
    dropped_rows=(3, 17),
    truncated_rows=(),
    trained_tokens=9000,
    total_steps=36,
    trainable_parameters=2_442_240,
    total_parameters=136_957_248,
    adapter_bytes=9_768_960,
    device="cpu",
    dtype="float32",
    attention="eager",
)
"""A `Started` for tests that need no run."""


@pytest.fixture(scope="session")
def smollm2() -> models.Source:
    return models.resolve("smollm2")


@pytest.fixture(scope="session")
def tokenizer(smollm2: models.Source) -> Any:
    return models.load_tokenizer(smollm2)


@pytest.fixture(scope="session")
def quick_events_and_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Event], Run]:
    folder = tmp_path_factory.mktemp("runs") / "quick"
    events = list(perform(QUICK, folder))
    return events, Run.load(folder)


@pytest.fixture(scope="session")
def quick_run(quick_events_and_run: tuple[list[Event], Run]) -> Run:
    return quick_events_and_run[1]


@pytest.fixture(scope="session")
def quick_events(quick_events_and_run: tuple[list[Event], Run]) -> list[Event]:
    return quick_events_and_run[0]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine on which nothing is cached and the Hub does not answer."""
    monkeypatch.setenv("FTDEMO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
