"""One engine on one thread of its own, and any number of coroutines that ask it."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from ..core.errors import DanluError
from ..infer.engine import Engine
from ..infer.request import Event, Request
from .errors import Refused, failed
from .metrics import Metrics
from .reader import Reader

T = TypeVar("T")
log = logging.getLogger("danlu.serve")


class Ticket:
    """The events of requests that belong together, as they come: (which of them, event); the last one ends them."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = tuple(requests)
        self.left = sum(request.sampling.n for request in requests)
        self.places: dict[int, int] = {}  # by the engine's number
        self.gone = False
        self.born, self.begun = time.monotonic(), False
        self._events: asyncio.Queue[Event | Refused] = asyncio.Queue()

    def put(self, event: Event | Refused) -> None:
        self._events.put_nowait(event)
        if isinstance(event, Refused):
            self.left = 0
        elif event.finish is not None:
            self.left -= 1

    async def __aiter__(self) -> AsyncIterator[tuple[int, Event]]:
        while self.left or not self._events.empty():
            event = await self._events.get()
            if isinstance(event, Refused):
                raise event
            if event.finish == "error":
                raise Refused(str(event.stop), status=500, code="engine_error")
            yield self.places[event.number], event


class Service:
    """Starts with ``start`` inside a running event loop, ends with ``close``; ``most`` requests at once, waiting ones
    included, then 429.

    A step of the engine that fails ends all requests that were in it with one sentence, and the next are served.
    """

    def __init__(self, engine: Engine | Reader, metrics: Metrics, *, most: int = 256) -> None:
        self.engine, self.metrics, self.most = engine, metrics, most
        self.tickets: dict[int, Ticket] = {}
        self.open: set[int] = set()
        self.taken = 0
        self.adapters: Counter[str | None] = Counter()
        self.leaving: set[str] = set()  # adapters that no new request may ask for
        self.gap = 1.0  # seconds between two requests that ended, smoothed
        self._ended = time.monotonic()
        self._orders: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._compiling = ThreadPoolExecutor(2, "grammar")  # may be slow, and holds up nobody else
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)

    def using(self, adapter: str) -> int:
        """How many requests an adapter is answering."""
        return self.adapters[adapter]

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        """Ends what still runs, then the thread."""
        self.expel()
        self._compiling.shutdown(wait=False, cancel_futures=True)
        self._orders.put(None)
        while self._thread.is_alive():
            await asyncio.sleep(0.01)

    def expel(self) -> None:
        """Tells all who wait that the server stops."""
        self._tell_all(Refused("the server is stopping", status=503, code="stopping", headers={"Retry-After": "5"}))

    # ── asked from coroutines ────────────────────────────────────────────────────────────────────────────────────
    async def call(self, work: Callable[[], T]) -> T:
        """What ``work`` answers, done between two steps on the engine's thread."""
        done: Future[T] = Future()

        def order() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)

        self._orders.put(order)
        return await asyncio.wrap_future(done)

    @asynccontextmanager
    async def asked(self, requests: Sequence[Request]) -> AsyncIterator[Ticket]:
        """The events of requests; leaving the block ends them, whether they were done or not.

        Raises: Refused if there is no place (429); DanluError for a request that cannot be served.
        """
        self._take(requests)
        ticket = Ticket(requests)
        try:
            for request in requests:
                if (constraint := request.sampling.constraint) is not None:
                    await self.loop.run_in_executor(self._compiling, self.engine.admission.grammar, constraint)
            await self.call(lambda: self._submit(ticket))
            yield ticket
        finally:
            ticket.gone = True
            self._orders.put(lambda: self._end(ticket))
            self._give(requests)

    def _take(self, requests: Sequence[Request]) -> None:
        if len(requests) > self.most:
            raise Refused(f"{len(requests)} prompts in one request; this server takes {self.most}", param="prompt")
        if leaving := self.leaving.intersection(request.adapter for request in requests):
            raise Refused(
                f"the adapter {leaving.pop()!r} is being taken off", status=404, param="model", code="model_not_found"
            )
        if self.taken + len(requests) > self.most:
            wait = min(60, max(1, round(self.gap)))
            raise Refused(
                f"the server has {self.taken} requests at work and waiting, and takes {self.most}; try again in "
                f"{wait} s",
                status=429, code="rate_limit_exceeded", headers={"Retry-After": str(wait)},
            )  # fmt: skip
        self.taken += len(requests)
        self.adapters.update(request.adapter for request in requests)

    def _give(self, requests: Sequence[Request]) -> None:
        self.taken -= len(requests)
        self.adapters.subtract(request.adapter for request in requests)
        now = time.monotonic()
        self.gap += 0.2 * (min(now - self._ended, 60.0) - self.gap)
        self._ended = now

    # ── on the engine's thread ───────────────────────────────────────────────────────────────────────────────────
    def _submit(self, ticket: Ticket) -> None:
        if ticket.gone:
            return
        for place, request in enumerate(ticket.requests):
            number = self.engine.submit(request)
            ticket.places[number] = place
            self.open.add(number)
            self.loop.call_soon_threadsafe(self.tickets.__setitem__, number, ticket)

    def _end(self, ticket: Ticket) -> None:
        """Orders are obeyed one after the other: whoever is gone was submitted before, or never will be."""
        for number in ticket.places:
            self.engine.abort(number)
            self.open.discard(number)
            self.loop.call_soon_threadsafe(self.tickets.pop, number, None)

    def _work(self) -> None:
        while True:
            try:
                order = self._orders.get(block=not self.engine.busy)
            except queue.Empty:
                self._step()
                continue
            if order is None:
                return
            order()

    def _step(self) -> None:
        try:
            events = self.engine.step()
        except Exception as error:
            self._fail(error)
            return
        if events:
            self.loop.call_soon_threadsafe(self._deliver, events)

    def _fail(self, error: Exception) -> None:
        """Whoever was in the step is told; a sentence for users goes to them, anything else to the log."""
        log.error("a step of the engine failed", exc_info=None if isinstance(error, DanluError) else error)
        told = Refused(str(error), status=500, code="engine_error") if isinstance(error, DanluError) else failed()
        for number in self.open:
            self.engine.abort(number)
        self.open.clear()
        self.loop.call_soon_threadsafe(self._tell_all, told)

    # ── on the event loop ────────────────────────────────────────────────────────────────────────────────────────
    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            if (ticket := self.tickets.get(event.number)) is not None:
                self._count(ticket, event)
                ticket.put(event)

    def _count(self, ticket: Ticket, event: Event) -> None:
        if not ticket.begun:
            ticket.begun = True
            self.metrics.began(time.monotonic() - ticket.born)
        if event.finish is not None:
            self.metrics.finished(event.finish)

    def _tell_all(self, told: Refused) -> None:
        for ticket in set(self.tickets.values()):
            ticket.put(told)
