"""Sessions of a demo's visitors: each has a folder and a run of its own, and survives a reload of the page."""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import re
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from ftdemo.errors import FtdemoError, writing
from ftdemo.training.hardware import give_memory_back
from ftdemo.ui.job_queue import JOB_QUEUE, StopFile

Outputs = tuple[Any, ...]
"""A value for each output of a demo, at one moment."""
Job = Callable[[Path, StopFile], Iterator[Outputs]]
"""Works in a folder until it is done or the switch is set, and yields the demo's outputs."""
Render = Callable[..., Outputs]
"""The demo's outputs for a sentence, or for an error with `error=True`."""
STOPPED_EARLY = "Stopped before the first step, so there is nothing to keep."
_GRACE_SECONDS = 120.0
"""How long a session outlives its page: a page that is reloaded is back within seconds."""
_IDLE_SECONDS = 3600.0
"""How long a session is kept after its last use, whether its page is open or not."""
_SWEEP_SECONDS = 15.0
_RUN = "Your run"
"""What an error says that cannot be written; a visitor knows no folders of the server."""
_REFRESH_SECONDS = 0.04
"""Between two updates of a page: no eye sees more."""


class Session:
    """One visitor's use of one demo: the job in progress, and the runs it has left."""

    def __init__(self, page: str) -> None:
        """Open a session.

        Args:
            page: Gradio's hash of the page that shows it.

        Raises:
            StorageError: If the server's disk is full.
        """
        self.key = secrets.token_urlsafe(16)
        """Finds the session again. Without it nobody can reach the session."""
        self.folder = _home() / self.key
        with writing(_RUN, "Try again later."):
            self.folder.mkdir()
        self.stop = StopFile(self.folder / "stop")
        self.page = page
        """Gradio's hash of the page that shows it; a reloaded page has another one."""
        self.closed_at: float | None = None
        """When that page was closed."""
        self.used_at = time.monotonic()
        self.run: Path | None = None
        """The latest run that left something: the one that answers."""
        self.earlier_run: Path | None = None
        """The one before it."""
        self.is_working = False
        self.outputs: Outputs | None = None
        self._version = 0
        self._error: str | None = None

    def start(self, job: Job, render: Render, address: str) -> None:
        """Start a job in a thread of its own, which continues when the visitor's page is reloaded.

        Args:
            job: The job.
            render: Makes the demo's outputs from a sentence.
            address: Where the visitor comes from.

        Raises:
            FtdemoError: If the visitor's last run is still in progress, or too many jobs are waiting.
        """
        if self.is_working:
            raise FtdemoError("Your last run is still in progress.", "Wait until it is finished, or press Stop.")
        ticket = JOB_QUEUE.join(address)
        self.stop.clear()
        self.is_working, self._error = True, None
        threading.Thread(target=self._carry_out, args=(job, render, ticket), daemon=True).start()

    async def follow(self) -> AsyncIterator[Outputs]:
        """The demo's outputs, as they change, until the job is done.

        Raises:
            gradio.Error: If the job failed, with what to do.
        """
        seen = 0
        while True:
            is_working, version = self.is_working, self._version  # in this order: the last outputs are yielded too
            if version != seen and self.outputs is not None:
                seen = version
                yield self.outputs
            if not is_working:
                break
            await asyncio.sleep(_REFRESH_SECONDS)
        if self._error:
            raise gr.Error(self._error, print_exception=False)

    def remove(self) -> None:
        """Remove all files of the session."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _carry_out(self, job: Job, render: Render, ticket: object) -> None:
        run: Path | None = None
        try:
            with JOB_QUEUE.turn(ticket, self.stop, lambda before: self._update(render(_waiting(before)))) as is_mine:
                if not is_mine:
                    self._update(render(STOPPED_EARLY))
                    return
                with writing(_RUN, "Try again later."):
                    run = Path(tempfile.mkdtemp(dir=self.folder)) / "run"
                for outputs in job(run, self.stop):
                    self._update(outputs)
        except FtdemoError as error:
            self._fail(f"{error.what} {error.remedy}", render)
        except Exception as error:
            self._fail(f"The run failed: {error}. Try again with other settings.", render)
            raise
        finally:
            try:
                if run:
                    self._keep(run)
            finally:  # whatever happens, the page must not wait for ever
                self.used_at = time.monotonic()
                self.is_working = False
            give_memory_back()  # now nobody waits for it

    def _keep(self, run: Path) -> None:
        """Keep the new run and the one before it; remove the older one, or the folder of a run that left nothing."""
        obsolete: Path | None = run
        if run.exists():
            obsolete, self.earlier_run, self.run = self.earlier_run, self.run, run
        if obsolete:
            shutil.rmtree(obsolete.parent, ignore_errors=True)

    def _update(self, outputs: Outputs) -> None:
        self.outputs = outputs
        self._version += 1

    def _fail(self, message: str, render: Render) -> None:
        message = re.sub(rf"{re.escape(tempfile.gettempdir())}/\S*/", "", message)  # an upload's name says enough
        self._update(render(message, error=True))
        self._error = message


class Sessions:
    """The sessions of one demo."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._is_sweeping = False

    def find(self, key: str, request: gr.Request | None) -> Session | None:
        """The session with this key, or else the one that this page shows."""
        page = _page_hash(request)
        session = self._sessions.get(key) or next(
            (session for session in list(self._sessions.values()) if page and session.page == page), None
        )
        if session:
            session.used_at = time.monotonic()
        return session

    def enter(self, key: str, request: gr.Request | None) -> Session:
        """The session with this key, which from now on this page shows; a new one if there is none."""
        session = self.find(key, request) or Session(_page_hash(request))
        session.page, session.closed_at = _page_hash(request), None
        self._sessions[session.key] = session
        if not self._is_sweeping:
            self._is_sweeping = True
            threading.Thread(target=self._sweep, daemon=True).start()
        return session

    def leave(self, request: gr.Request) -> None:
        """Note that a page was closed, or is being reloaded."""
        for session in list(self._sessions.values()):
            if session.page == _page_hash(request):
                session.closed_at = time.monotonic()

    def _sweep(self) -> None:
        while True:
            time.sleep(_SWEEP_SECONDS)
            with suppress(OSError):  # a file that vanishes meanwhile must not end this thread
                self.clean_up(time.monotonic())

    def clean_up(self, now: float) -> None:
        """Remove the sessions that are over, and stop the runs of visitors who have left.

        Args:
            now: Seconds, on the monotonic clock.
        """
        for key, session in list(self._sessions.items()):
            has_left = session.closed_at is not None and now - session.closed_at > _GRACE_SECONDS
            if has_left and session.is_working:
                session.stop.set()
            elif not session.is_working and (has_left or now - session.used_at > _IDLE_SECONDS):
                del self._sessions[key]
                session.remove()
        for folder in (_home() / "pasted").glob("*"):
            if time.time() - folder.stat().st_mtime > _IDLE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def pasted_file(text: str, suffix: str) -> Path:
    """A file with a text that a visitor pasted. It is kept as long as an upload."""
    folder = _home() / "pasted" / hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"pasted{suffix}"
    file.write_text(text, encoding="utf-8", errors="replace")
    return file


def remove_all() -> None:
    """Remove the files of all visitors of this process."""
    shutil.rmtree(_home(), ignore_errors=True)


@lru_cache(maxsize=1)
def _home() -> Path:
    """Where this process keeps visitors' files; it is removed when the process ends."""
    home = Path(tempfile.mkdtemp(prefix="ftdemo-sessions-"))
    atexit.register(remove_all)
    return home


def _page_hash(request: gr.Request | None) -> str:
    return (getattr(request, "session_hash", None) or "") if request else ""


def _waiting(before: int) -> str:
    runs = "one run is" if before == 1 else f"{before} runs are"
    return f"Waiting: {runs} ahead of yours, which then starts automatically."
