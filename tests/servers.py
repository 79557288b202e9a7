"""A server of a tiny random model in this process, on a port of its own: for the tests of serving."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from talkers import small_model, small_tokenizer

from danlu.infer.engine import Engine
from danlu.infer.settings import EngineSettings
from danlu.serve.app import create
from danlu.serve.house import House
from danlu.serve.limits import Limits
from danlu.serve.listening import Listener, bound
from danlu.serve.opening import opened
from danlu.serve.reader import Reader


class Served:
    """``url`` answers; ``house`` is what answers."""

    def __init__(self, house: House, port: int) -> None:
        self.house, self.port = house, port
        self.url = f"http://127.0.0.1:{port}"

    @property
    def engine(self) -> Any:
        return self.house.engine

    def idle(self, seconds: float = 10.0) -> bool:
        """Whether all requests leave the engine within this time, and all their blocks with them."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if not self.engine.busy and not self.engine.stats.blocks_used and not self.house.service.taken:
                return True
            time.sleep(0.01)
        return False


def engine_of(folder: Path, *, context: int = 512, model: Any = None, tokenizer: Any = None, **settings: Any) -> Engine:
    model = model if model is not None else small_model(context=context)
    words = tokenizer if tokenizer is not None else small_tokenizer(folder)
    return Engine(model, words, settings=EngineSettings(**{"rows": 16, **settings}))


@contextmanager
def serving(
    engine: Engine | Reader, *, limits: Limits | None = None, origins: tuple[str, ...] = (), **house: Any
) -> Iterator[Served]:
    made = opened(engine, "tiny", **house)
    app = create(made, limits or Limits(), origins=origins)
    with bound("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        server = Listener(app, made.service, drain=1)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield Served(made, port)
        finally:
            server.should_exit = True
            thread.join(10)
