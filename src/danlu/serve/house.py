"""What every route needs, and how a body comes in and an answer goes out."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from .. import __version__
from ..infer.engine import Engine
from ..tokenize import Tokenizer
from .call_forms import CallForm, form_of, shows_tools
from .errors import Refused
from .metrics import Metrics
from .models import Models
from .prompts import Prompts
from .reader import Reader
from .schemas.body import Body, read
from .service import Service
from .shelf import Shelf
from .sse import dumped
from .votes import Votes

T = TypeVar("T")
B = TypeVar("B", bound=Body)
FINGERPRINT = f"danlu-{__version__}"


@dataclass(frozen=True, kw_only=True)
class House:
    """One served model; ``default`` are the adapters that act where a request names none."""

    engine: Engine | Reader
    default: tuple[str, ...] = ()
    tokenizer: Tokenizer
    service: Service
    models: Models
    prompts: Prompts
    metrics: Metrics = field(default_factory=Metrics)
    votes: Votes | None = None
    shelf: Shelf | None = None
    pooling: str = "mean"

    def acting(self, adapter: str | None) -> tuple[str, ...]:
        """The adapters that act for a request."""
        return self.default if adapter is None else (adapter,)

    @cached_property
    def form(self) -> CallForm:
        """How the model writes its calls of tools."""
        return form_of(self.tokenizer)

    @cached_property
    def shows_tools(self) -> bool:
        """Whether the chat template tells the model of tools."""
        return shows_tools(self.tokenizer)

    @property
    def vocab(self) -> int:
        return self.engine.model.dims.vocab


def house_of(request: Request) -> House:
    return request.app.state.house


async def body_of(request: Request, kind: type[B]) -> B:
    """The checked body; raises Refused that names what is wrong."""
    raw = await request.body()
    return read(kind, raw) if len(raw) < 100_000 else await asyncio.to_thread(read, kind, raw)


def answered(value: Any, status: int = 200) -> Response:
    return Response(dumped(value), status_code=status, media_type="application/json")


def head(kind: str, prefix: str, model: str) -> dict[str, Any]:
    """What every answer and every chunk of it begins with."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": FINGERPRINT,
    }


async def while_listening(request: Request, work: Awaitable[T]) -> T:
    """What ``work`` answers; it ends when the client is gone."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def not_here(what: str) -> Refused:
    return Refused(what, status=404, code="not_found")
