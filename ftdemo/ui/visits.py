"""Visitors of a demo: each has a folder of their own, is worked for in turn, and finds the run again after a reload."""

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
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from ftdemo.errors import FtdemoError
from ftdemo.training.hardware import give_memory_back

Shown = tuple[Any, ...]
"""What a demo shows at one moment: a value for each of its outputs."""
_GRACE_SECONDS = 120.0
"""How long a visit outlasts its page: a page that is loaded anew is back within seconds."""
_IDLE_SECONDS = 3600.0
"""How long a visit is kept after its last use, whether its page is open or not."""
_SWEEP_SECONDS = 15.0
_LOOK_SECONDS = 0.04
"""Between two looks at what a run has to show: no eye sees more."""
_MOST_WAITING = 100
_MOST_FROM_ONE_ADDRESS = 32
"""Of those who wait or are worked for: a class of pupils behind one address may train at once, a flood may not."""


class Line:
    """Those who want a model trained: one is worked for at a time, the others are told how many are before them.

    Two runs at once would each take more than twice as long.
    """

    def __init__(self) -> None:
        self._waiting: deque[object] = deque()
        self._moved = threading.Condition()
        self._addresses: dict[object, str] = {}
        self._holder: int | None = None

    def join(self, address: str) -> object:
        """A place at the end of the line.

        Raises:
            FtdemoError: If the line is full, or too many in it come from this address.
        """
        with self._moved:
            if len(self._waiting) >= _MOST_WAITING:
                raise FtdemoError(f"{_MOST_WAITING} runs are waiting already.", "Come back in some minutes.")
            if list(self._addresses.values()).count(address) >= _MOST_FROM_ONE_ADDRESS:
                what = f"{_MOST_FROM_ONE_ADDRESS} runs from your address are waiting already."
                raise FtdemoError(what, "Let some of them come to their end, then try again.")
            place = object()
            self._waiting.append(place)
            self._addresses[place] = address
            return place

    @contextmanager
    def turn(self, place: object, stop: Stop, tell: Callable[[int], None]) -> Iterator[bool]:
        """Wait until all before this place are done, then hold the turn. It is false where the visitor stopped.

        Args:
            place: What `join` gave.
            stop: The visitor's stop switch: who stops waits no longer.
            tell: Is told how many are before, as often as that changes.
        """
        try:
            mine = self._wait(place, stop, tell)
            if mine:
                self._holder = threading.get_ident()
            yield mine
        finally:
            with self._moved:
                self._holder = None if self._holder == threading.get_ident() else self._holder
                self._waiting.remove(place)
                del self._addresses[place]
                self._moved.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait for a turn of one's own, unless this thread has it: for what is timed, or would disturb a run."""
        if self._holder == threading.get_ident():
            yield
            return
        with self.turn(self.join(f"thread {threading.get_ident()}"), _NEVER, lambda _: None):
            yield

    def _wait(self, place: object, stop: Stop, tell: Callable[[int], None]) -> bool:
        told = 0
        while not stop.is_set():
            with self._moved:
                before = self._waiting.index(place)
                if not before:
                    return True
                if before == told:
                    self._moved.wait(0.5)
                    continue
            tell(before)
            told = before
        return False


class Stop:
    """A switch that also works from another process: it is set when its file is there."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def is_set(self) -> bool:
        """Whether somebody asked to stop."""
        return self.file.exists()

    def set(self) -> None:
        """Ask to stop."""
        self.file.touch()

    def clear(self) -> None:
        """Take the request back."""
        self.file.unlink(missing_ok=True)


_NEVER = Stop(Path("/nowhere/stop"))
LINE = Line()
"""The one line of all demos of this process: they share its processor."""

Work = Callable[[Path, Stop], Iterator[Shown]]


class Visit:
    """What one visitor has begun in one demo, and what is left of it."""

    def __init__(self, session: str) -> None:
        self.key = secrets.token_urlsafe(16)
        """By which it is found again. Who does not have it cannot reach the visit."""
        self.folder = _home() / self.key
        self.folder.mkdir()
        self.stop = Stop(self.folder / "stop")
        self.session = session
        self.left: float | None = None
        """When its page was closed."""
        self.used = time.monotonic()
        self.run: Path | None = None
        """The run that can be talked to: the last one that left something."""
        self.earlier: Path | None = None
        """The one before that."""
        self.working = False
        self.shown: Shown | None = None
        self._version = 0
        self._error: str | None = None

    def begin(self, work: Work, show: Callable[..., Shown], address: str) -> None:
        """Start working, in a thread of its own: it goes on when the visitor's page is loaded anew.

        Args:
            work: What is done in a folder, until it is over or the switch is set; it yields what is shown.
            show: What is shown of a sentence, or of an error with `error=True`.
            address: Where the visitor comes from.

        Raises:
            FtdemoError: If the visitor's last run still goes on, or too many are waiting.
        """
        if self.working:
            raise FtdemoError("Your last run is still going on.", "Wait for its end, or press Stop.")
        place = LINE.join(address)
        self.stop.clear()
        self.working, self._error = True, None
        threading.Thread(target=self._carry_out, args=(work, show, place), daemon=True).start()

    async def follow(self) -> AsyncIterator[Shown]:
        """What is shown, as it changes, until the work is over.

        Raises:
            gradio.Error: If the work failed, with what to do.
        """
        seen = 0
        while True:
            working, version = self.working, self._version  # in this order: what comes last is shown too
            if version != seen and self.shown is not None:
                seen = version
                yield self.shown
            if not working:
                break
            await asyncio.sleep(_LOOK_SECONDS)
        if self._error:
            raise gr.Error(self._error, print_exception=False)

    def forget(self) -> None:
        """Remove all that the visitor left."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _carry_out(self, work: Work, show: Callable[..., Shown], place: object) -> None:
        run = Path(tempfile.mkdtemp(dir=self.folder)) / "run"
        try:
            with LINE.turn(place, self.stop, lambda before: self._show(show(_waiting(before)))) as mine:
                if not mine:
                    self._show(show("Stopped before the first step: there is nothing to keep."))
                    return
                for shown in work(run, self.stop):
                    self._show(shown)
        except FtdemoError as error:
            self._fail(f"{error.what} {error.remedy}", show)
        except Exception as error:
            self._fail(f"This went wrong: {error}. Try again with other settings.", show)
            raise
        finally:
            self._keep(run)
            self.used = time.monotonic()
            self.working = False
            give_memory_back()  # nobody waits for it

    def _keep(self, run: Path) -> None:
        """The new run is kept, and the one before it; of a run that left nothing, nothing stays."""
        gone: Path | None = run
        if run.exists():
            gone, self.earlier, self.run = self.earlier, self.run, run
        if gone:
            shutil.rmtree(gone.parent, ignore_errors=True)

    def _show(self, shown: Shown) -> None:
        self.shown = shown
        self._version += 1

    def _fail(self, told: str, show: Callable[..., Shown]) -> None:
        told = re.sub(rf"{re.escape(tempfile.gettempdir())}/\S*/", "", told)  # of an upload the name says enough
        self._show(show(told, error=True))
        self._error = told


class Visits:
    """The visits of one demo."""

    def __init__(self) -> None:
        self._visits: dict[str, Visit] = {}
        self._sweeping = False

    def find(self, key: str, request: gr.Request | None) -> Visit | None:
        """The visit of this key; without a key, the one that was begun in this session."""
        session = _session(request)
        visit = self._visits.get(key) or next(
            (visit for visit in list(self._visits.values()) if session and visit.session == session), None
        )
        if visit:
            visit.used = time.monotonic()
        return visit

    def enter(self, key: str, request: gr.Request | None) -> Visit:
        """The visit of this key, as of now in this session; a new one where there is none."""
        visit = self.find(key, request) or Visit(_session(request))
        visit.session, visit.left = _session(request), None
        self._visits[visit.key] = visit
        if not self._sweeping:
            self._sweeping = True
            threading.Thread(target=self._sweep, daemon=True).start()
        return visit

    def leave(self, request: gr.Request) -> None:
        """A page was closed, or is being loaded anew."""
        for visit in list(self._visits.values()):
            if visit.session == _session(request):
                visit.left = time.monotonic()

    def _sweep(self) -> None:
        while True:
            time.sleep(_SWEEP_SECONDS)
            self.tidy(time.monotonic())

    def tidy(self, now: float) -> None:
        """Forget the visits that are over, and stop the runs of those whose visitors went away.

        Args:
            now: Seconds, on the monotonic clock.
        """
        for key, visit in list(self._visits.items()):
            gone = visit.left is not None and now - visit.left > _GRACE_SECONDS
            if gone and visit.working:
                visit.stop.set()
            elif not visit.working and (gone or now - visit.used > _IDLE_SECONDS):
                del self._visits[key]
                visit.forget()
        for folder in (_home() / "pasted").glob("*"):
            if time.time() - folder.stat().st_mtime > _IDLE_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


def pasted(text: str, suffix: str) -> Path:
    """A file of what a visitor pasted. It is kept as long as an upload is."""
    folder = _home() / "pasted" / hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"pasted{suffix}"
    file.write_text(text, encoding="utf-8", errors="replace")
    return file


def remove_all() -> None:
    """Remove what all visitors have left in this process."""
    shutil.rmtree(_home(), ignore_errors=True)


@lru_cache(maxsize=1)
def _home() -> Path:
    """Where this process keeps what visitors have; it goes when the process ends."""
    home = Path(tempfile.mkdtemp(prefix="ftdemo-visits-"))
    atexit.register(remove_all)
    return home


def _session(request: gr.Request | None) -> str:
    return (getattr(request, "session_hash", None) or "") if request else ""


def _waiting(before: int) -> str:
    runs = "one run is" if before == 1 else f"{before} runs are"
    return f"Waiting: {runs} before yours. It starts by itself."
