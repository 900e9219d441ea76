"""What every demo does for its visitors: each has a session with a run of its own, and may stop it and return to it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from ftdemo.errors import FtdemoError, first_line
from ftdemo.ui import limits, panels
from ftdemo.ui.sessions import Job, Outputs, Render, Sessions

STOPPING = "Stopping. The model is kept, and answers the questions once more …"
NO_TUNED_MODEL = "No model has been trained yet. Press Train first."
ANSWERS: dict[str, Any] = {"concurrency_id": "answers", "concurrency_limit": 1, "show_progress": "hidden"}
"""Settings of an event in which a model answers: one visitor at a time, whether or not another one trains."""
FOLLOWS: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden"}
"""Settings of an event that computes nothing itself."""


def ended_with_a_sentence(pieces: Iterator[str]) -> Iterator[str]:
    """The pieces of an answer; if it breaks off, the last piece says why and what to do."""
    try:
        yield from pieces
    except FtdemoError as error:
        yield f"\n\n{error.what} {error.remedy}"
    except Exception as error:
        logging.getLogger(__name__).exception("An answer broke off")
        yield f"\n\nThe model could not finish its answer: {first_line(error)}. Ask again, or train again."


class Demo:
    """A demo, and the sessions of its visitors."""

    def __init__(self, slug: str, *, outputs: int, stopping: str = STOPPING, page: str = "") -> None:
        """Open a demo.

        Args:
            slug: The demo's name.
            outputs: The number of its outputs, without the session's key.
            stopping: The status when a visitor stops a run.
            page: The term that it shows, if its page has another name.
        """
        self.slug = slug
        self.page = page or slug
        self.stopping = stopping
        self.outputs = outputs
        self.sessions = Sessions()

    async def run_job(
        self, job: Job, render: Render, key: str, request: gr.Request | None
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Carry out a visitor's job when it is its turn.

        Args:
            job: The job.
            render: Makes the demo's outputs from a sentence.
            key: The session's key; empty for a new session.
            request: Tells visitors apart.

        Returns:
            The demo's outputs as they change, each time followed by the session's key.
        """
        try:
            session = self.sessions.enter(key, request)
            session.start(job, render, limits.client_address(request))
        except FtdemoError as error:
            raise gr.Error(f"{error.what} {error.remedy}", print_exception=False) from None
        async for outputs in session.follow():
            yield (*outputs, session.key)

    async def resume(self, key: str, request: gr.Request) -> AsyncIterator[Outputs]:
        """After a reload of the page: the run as it is, and as it continues."""
        session = self.sessions.find(key, request) if key else None
        if session is None:
            yield (*[gr.skip()] * self.outputs, "")
            return
        session = self.sessions.enter(key, request)
        async for outputs in session.follow():
            yield (*outputs, session.key)

    def stop(self, key: str, request: gr.Request) -> Any:
        """Stop your run after the current step. The model as trained so far is evaluated and kept.

        Args:
            key: Your session's key, as training gave it; may be empty.
            request: Tells visitors apart.
        """
        session = self.sessions.find(key, request)
        if session is None or not session.is_working or session.stop.is_set():
            return gr.skip()
        session.stop.set()
        return panels.status_line(self.stopping)

    def run_folder(self, key: str, request: gr.Request | None) -> Path:
        """The folder of a visitor's latest run.

        Raises:
            gradio.Error: If there is none.
        """
        session = self.sessions.find(key, request)
        if session is None or session.run is None:
            raise gr.Error(NO_TUNED_MODEL, print_exception=False)
        return session.run
