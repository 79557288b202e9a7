"""What stands before every route: keys, sizes and times, and a line in the log for each request."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import Refused, failed
from .metrics import Metrics
from .sse import dumped

OPEN = ("/", "/health", "/favicon.ico")  # no key is asked for these, and for what lies under /page/
log = logging.getLogger("danlu.serve")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """``body`` bytes a request, which come within ``body_seconds``; it is answered within ``seconds``."""

    body: int = 8 << 20
    body_seconds: float = 20.0
    seconds: float = 600.0
    keys: tuple[str, ...] = ()


class Gate:
    """Lets a request through to ``app``, counted and timed, or refuses it in OpenAI's shape."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics) -> None:
        self.app, self.limits, self.metrics = app, limits, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        one = Passing(scope, send)
        try:
            async with asyncio.timeout(self.limits.seconds):
                _expect_key(scope, self.limits.keys)
                _expect_json(scope)
                await self.app(scope, self._limited(scope, receive), one.send)
        except Refused as refused:
            await one.refuse(refused)
        except TimeoutError:
            said = f"not answered within {self.limits.seconds:g} seconds, the server's limit; ask for fewer tokens"
            await one.refuse(Refused(said, status=504, code="timeout", headers={"x-should-retry": "false"}))
        except Exception:
            log.exception("%s failed", one.id)
            await one.refuse(failed())
        finally:
            one.close(self.metrics)

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """``receive`` that counts a body's bytes, and the seconds until it is whole."""
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > self.limits.body:
            raise self._too_large()
        until = time.monotonic() + self.limits.body_seconds
        got, whole = 0, False

        async def limited() -> Message:
            nonlocal got, whole
            if whole:
                return await receive()
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                said = f"the body did not come within {self.limits.body_seconds:g} seconds"
                raise Refused(said, status=408, code="timeout", headers={"Connection": "close"}) from None
            got += len(message.get("body", b""))
            if got > self.limits.body:
                raise self._too_large()
            whole = not message.get("more_body", False)
            return message

        return limited

    def _too_large(self) -> Refused:
        said = f"the body is larger than this server's {self.limits.body:,} bytes; send less"
        return Refused(said, status=413, code="body_too_large", headers={"Connection": "close"})


class Passing:
    """A request on its way: its number, its times, and the status it got."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope, self._send = scope, send
        self.began, self.status = time.monotonic(), 0
        given = Headers(scope=scope).get("x-request-id", "")
        self.id = given if given.isascii() and given.isprintable() and 0 < len(given) <= 64 else uuid.uuid4().hex

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(scope=message).append("x-request-id", self.id)
        await self._send(message)

    async def refuse(self, refused: Refused) -> None:
        if not self.status:
            await respond(refused, self.send)

    def close(self, metrics: Metrics) -> None:
        seconds = time.monotonic() - self.began
        route: Any = self.scope.get("route")
        path = getattr(route, "path", "other")
        metrics.answered(path, self.status or 499, seconds)
        said = self.scope.get("usage", "")
        log.info("%s %s %s %d %.3f s %s", self.id, self.scope["method"], path, self.status or 499, seconds, said)


async def respond(refused: Refused, send: Send) -> None:
    """The answer of a request that is refused before any route."""
    body = dumped(refused.body).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refused.headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _expect_key(scope: Scope, keys: Sequence[str]) -> None:
    path = scope["path"]
    if not keys or path in OPEN or path.startswith("/page/"):
        return
    headers = Headers(scope=scope)
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    given = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    if not any(hmac.compare_digest(given.encode("latin-1"), key.encode()) for key in keys):
        said = "the key is not one of this server's" if given else "this server wants a key: Authorization: Bearer KEY"
        raise Refused(said, status=401, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})


def _expect_json(scope: Scope) -> None:
    """A page of someone else's can make a browser post a form here, but no JSON without asking (CORS)."""
    if scope["method"] != "POST":
        return
    kind = Headers(scope=scope).get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused("send JSON, with the header Content-Type: application/json", status=415, code="not_json")
