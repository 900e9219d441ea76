"""Requests that are larger than any demo needs are refused before they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BYTES = 25_000_000
"""An upload of 20 MB, the most that a demo takes, and what is written around it."""


class BoundedBody:
    """Answers 413 to a request whose body is larger than `MAX_BYTES`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, unless it says, or turns out, to be too large."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or int(length) > MAX_BYTES:
            await _refuse(send)
            return
        read = 0

        async def counted() -> Message:
            """The next part of the body; a disconnection once it is too large."""
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            return {"type": "http.disconnect"} if read > MAX_BYTES else message

        await self._app(scope, counted, send)


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    message = f"The request is larger than {MAX_BYTES // 1_000_000} MB. Use fewer examples.\n"
    await send({"type": "http.response.body", "body": message.encode()})
