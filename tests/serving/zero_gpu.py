"""A stand-in for the package `spaces` of a Space with ZeroGPU: it runs a function in another process, as that does."""

from __future__ import annotations

import inspect
import multiprocessing
import os
from collections.abc import Callable, Iterator
from typing import Any

LOG = "ZERO_GPU_LOG"
_OVER = "over"


def GPU(duration: Any = 60) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Lend a process of its own to each call, for so many seconds; arguments and results are sent to and fro."""

    def place(function: Callable[..., Any]) -> Callable[..., Any]:
        def lent(*arguments: Any, **named: Any) -> tuple[Any, Any]:
            seconds = duration(*arguments, **named) if callable(duration) else duration
            assert isinstance(seconds, int)
            assert 0 < seconds <= 600
            with open(os.environ[LOG], "a", encoding="utf-8") as log:  # noqa: PTH123
                log.write(f"{function.__name__} {seconds}\n")
            context = multiprocessing.get_context("fork")
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, function, arguments, named), daemon=True)
            process.start()
            return ours, process

        def results(*arguments: Any, **named: Any) -> Iterator[Any]:
            ours, process = lent(*arguments, **named)
            while True:
                kind, value = ours.recv()
                if kind == "error":
                    raise value
                if kind == _OVER:
                    break
                yield value
            process.join()

        def call(*arguments: Any, **named: Any) -> Any:
            return next(iter(list(results(*arguments, **named))))

        return results if inspect.isgeneratorfunction(function) else call

    return place


def _work(pipe: Any, function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    try:
        if inspect.isgeneratorfunction(function):
            for value in function(*arguments, **named):
                pipe.send(("value", value))
        else:
            pipe.send(("value", function(*arguments, **named)))
        pipe.send((_OVER, None))
    except Exception as error:
        pipe.send(("error", error))
