"""A port, and an HTTP server on it that drains when it is told to end and waits for nobody for ever."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ..core.errors import ConfigError
from .service import Service

HEADER_SECONDS = 10.0  # how long the head of a request may take
IDLE_SECONDS = 30  # how long a connection stays open between requests: longer than clients keep theirs
GRACE = 2.0  # seconds in which streams that were ended go out


def bound(host: str, port: int) -> socket.socket:
    """A socket at this address; raises ConfigError if it is taken, or not ours to take."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
    except (socket.gaierror, OverflowError):
        raise ConfigError(f"--host {host} --port {port}: there is no such address on this machine") from None
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise ConfigError(_why(host, port, error)) from None
    return listening


def _why(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use by another program; choose another with --port, or 0 for any free one"
    if error.errno == errno.EACCES:
        return f"port {port} is not yours to open; choose one of 1024 or above with --port"
    return f"--host {host}: {error.strerror}; choose an address of this machine, such as 127.0.0.1 or 0.0.0.0"


class Patient(H11Protocol):
    """Closes a connection whose next request does not show its whole head in time."""

    waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._idle:
            self._forget()
        elif self.waiting is None:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _forget(self) -> None:
        if self.waiting is not None:
            self.waiting.cancel()
            self.waiting = None

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_head(self) -> None:
        self.waiting = self.loop.call_later(HEADER_SECONDS, self._late)

    def _late(self) -> None:
        self.waiting = None
        if self._idle:
            self.transport.close()


class Listener(uvicorn.Server):
    """Ends at SIGTERM and Ctrl-C: no new requests, those at work are answered within ``drain`` seconds, then told."""

    def __init__(self, app: Any, service: Service, *, drain: float) -> None:
        config = uvicorn.Config(
            app, http=Patient, ws="none", lifespan="on", log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=int(drain + 2 * GRACE) + 1, h11_max_incomplete_event_size=64 << 10,
            timeout_keep_alive=IDLE_SECONDS,
        )  # fmt: skip
        super().__init__(config)
        self.service, self.drain = service, drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        ending = asyncio.get_running_loop().call_later(self.drain, self.service.expel)
        await super().shutdown(sockets)
        ending.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True
