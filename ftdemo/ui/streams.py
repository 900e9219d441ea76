"""No answer of a demo is lost on its way to the page, whatever overtakes what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_JOIN = "/queue/join"
_HOLD_SECONDS = 0.15
"""Longer than one connection of a page lags behind another, and too short to be noticed."""


class HeldReceipts:
    """Holds back the receipt of each request to the queue for a moment.

    Gradio's page reads all its answers from one stream, which the server closes as soon as none is outstanding. A
    receipt that overtakes the news of that closing is taken to mean that the stream still stands: the page opens no
    other, and waits for ever. Held back, the receipt comes after the news.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through; only its answer waits, not what it asks for."""

        async def held(message: Message) -> None:
            """Send a message; the first of a response waits."""
            if message["type"] == "http.response.start":
                await asyncio.sleep(_HOLD_SECONDS)
            await send(message)

        joins = scope["type"] == "http" and scope["path"].endswith(_JOIN)
        await self._app(scope, receive, held if joins else send)
