"""Server-sent events: what is streamed, kept alive while nothing comes, and ended when the client is gone."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from .errors import Refused, failed

SILENT = 15.0  # seconds after which a comment is sent, so that nobody between closes the connection
DONE = "data: [DONE]\n\n"
log = logging.getLogger("danlu.serve")


def dumped(value: Any) -> str:
    """JSON on one line; never NaN."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def data(value: Any) -> str:
    return f"data: {dumped(value)}\n\n"


def named(kind: str, value: Any) -> str:
    """An event with a name, as /v1/responses sends them."""
    return f"event: {kind}\ndata: {dumped(value)}\n\n"


class Streamed(StreamingResponse):
    """Sends events; ``held`` is let go when they end or nobody listens any more, however early that is."""

    def __init__(self, events: AsyncIterator[str], held: AsyncExitStack, *, end: str = DONE) -> None:
        self.held = held
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(_alive(_told(events, end)), media_type="text/event-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.held:
            await super().__call__(scope, receive, send)


async def _told(events: AsyncIterator[str], end: str) -> AsyncIterator[str]:
    """An error in the middle is an event, too: the status was sent long ago."""
    try:
        async for event in events:
            yield event
    except Refused as refused:
        yield data(refused.body)
    except Exception:
        log.exception("a stream failed")
        yield data(failed().body)
    if end:
        yield end


async def _alive(events: AsyncIterator[str]) -> AsyncIterator[str]:
    source = aiter(events)
    while True:
        coming = asyncio.ensure_future(anext(source, None))
        try:
            while not (await asyncio.wait({coming}, timeout=SILENT))[0]:
                yield ": still here\n\n"
        finally:
            coming.cancel()
        if (event := coming.result()) is None:
            return
        yield event
