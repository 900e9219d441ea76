"""What commands of the shell have in common."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from ftdemo.training import distributed


@contextmanager
def ctrl_c_sets() -> Iterator[threading.Event]:
    """Within this, Ctrl-C sets the event, as does a polite end by the system; a second one interrupts at once."""
    stop = threading.Event()
    signals = (signal.SIGINT, signal.SIGTERM)
    usual = [signal.getsignal(number) for number in signals]

    def ask(_signal: int, _frame: Any) -> None:
        if distributed.is_main():
            click.echo("\nStopping after what is in hand. Ctrl-C again interrupts at once.", err=True)
        stop.set()
        restore()

    def restore() -> None:
        for number, handler in zip(signals, usual, strict=True):
            signal.signal(number, handler)

    for number in signals:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        restore()
