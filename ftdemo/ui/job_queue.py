"""The queue of visitors' jobs: one job runs at a time, the others wait for their turn."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ftdemo.errors import FtdemoError

_MAX_WAITING = 100
_MAX_FROM_ONE_ADDRESS = 32
"""Of the jobs that wait or run: a class of pupils behind one address may train at once, a flood may not."""


class StopFile:
    """A switch that also works from another process: it is set when its file exists."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def is_set(self) -> bool:
        """Whether somebody has requested a stop."""
        return self.file.exists()

    def set(self) -> None:
        """Request a stop."""
        self.file.touch()

    def clear(self) -> None:
        """Withdraw the request."""
        self.file.unlink(missing_ok=True)


class JobQueue:
    """Runs one job at a time, because two at once would each take more than twice as long."""

    def __init__(self) -> None:
        self._tickets: deque[object] = deque()
        self._changed = threading.Condition()
        self._addresses: dict[object, str] = {}
        self._holder: int | None = None

    def join(self, address: str) -> object:
        """A ticket for the place at the end of the queue.

        Args:
            address: Where the visitor comes from.

        Raises:
            FtdemoError: If the queue is full, or too many of its jobs come from this address.
        """
        with self._changed:
            if len(self._tickets) >= _MAX_WAITING:
                raise FtdemoError(f"The queue is full: {_MAX_WAITING} runs are waiting.", "Try again in a few minutes.")
            if list(self._addresses.values()).count(address) >= _MAX_FROM_ONE_ADDRESS:
                what = f"{_MAX_FROM_ONE_ADDRESS} runs from your address are already waiting."
                raise FtdemoError(what, "Wait until one of them has finished, then try again.")
            ticket = object()
            self._tickets.append(ticket)
            self._addresses[ticket] = address
            return ticket

    @contextmanager
    def turn(self, ticket: object, stop: StopFile, on_wait: Callable[[int], None]) -> Iterator[bool]:
        """Wait until all jobs before this one are done, then hold the turn. It is false if the visitor stopped.

        Args:
            ticket: From `join`.
            stop: The visitor's stop switch, which also ends the waiting.
            on_wait: Called with the number of jobs before this one whenever that changes.
        """
        try:
            is_mine = self._wait(ticket, stop, on_wait)
            if is_mine:
                self._holder = threading.get_ident()
            yield is_mine
        finally:
            with self._changed:
                self._holder = None if self._holder == threading.get_ident() else self._holder
                self._tickets.remove(ticket)
                del self._addresses[ticket]
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold a turn, unless this thread has it: for work that is timed, or would disturb a run."""
        if self._holder == threading.get_ident():
            yield
            return
        with self.turn(self.join(f"thread {threading.get_ident()}"), _NEVER, lambda _: None):
            yield

    def _wait(self, ticket: object, stop: StopFile, on_wait: Callable[[int], None]) -> bool:
        reported = 0
        while not stop.is_set():
            with self._changed:
                before = self._tickets.index(ticket)
                if not before:
                    return True
                if before == reported:
                    self._changed.wait(0.5)  # a stop file wakes nobody up
                    continue
            on_wait(before)
            reported = before
        return False


_NEVER = StopFile(Path("/nowhere/stop"))
JOB_QUEUE = JobQueue()
"""The one queue of all demos of this process: they share its processor."""
