"""Chunks to results on all cores, in order: worker processes of our own, or this process for small work."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..core.errors import DanluError, DataError
from .chunks import Chunk, Result, encoded
from .encoding import Encoder
from .wire import receive, send

if TYPE_CHECKING:
    pass

SMALL = 4 << 20  # bytes of files below which starting processes costs more than it saves
MOST = 16


def cores() -> int:
    """The cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def workers_for(size: int, asked: int | None) -> int:
    """How many processes to start for files of ``size`` bytes; 0 means to work here."""
    if asked is not None:
        return asked
    return 0 if size < SMALL or cores() == 1 else min(cores(), MOST)


def results(chunks: Iterable[Chunk], encoder: Encoder, workers: int) -> Generator[Result]:
    """The results in the order of the chunks, whatever the number of workers."""
    if workers < 1:
        yield from (encoded(chunk, encoder) for chunk in chunks)
        return
    with tempfile.TemporaryDirectory(prefix="danlu-") as folder, contextlib.ExitStack() as stack:
        encoder.tokenizer.save(folder)
        setup = {"tokenizer": folder, "length": encoder.length, "too_long": encoder.too_long}
        free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for _ in range(workers):
            free.put(stack.enter_context(_Worker(setup)))
        threads = stack.enter_context(ThreadPoolExecutor(workers))
        yield from _in_order(chunks, threads, free, workers)


def _in_order(chunks: Iterable[Chunk], threads: Any, free: Any, workers: int) -> Iterator[Result]:
    """Keeps two chunks a worker under way; memory does not grow with the data."""

    def work(chunk: Chunk) -> Result:
        worker = free.get()
        try:
            return worker.encoded(chunk)
        finally:
            free.put(worker)

    waiting: deque[Future[Result]] = deque()
    try:
        for chunk in chunks:
            waiting.append(threads.submit(work, chunk))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


class _Worker:
    """One process; started as a module, so a script without a main guard is not run again."""

    def __init__(self, setup: dict[str, Any]) -> None:
        self.setup = setup

    def __enter__(self) -> _Worker:
        environment = {
            **os.environ,
            "RAYON_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "danlu.data.worker"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.inbox, self.outbox = self.process.stdin, self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            send(self.inbox, self.setup, [])  # type: ignore[arg-type]
        return self

    def __exit__(self, *reason: object) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.inbox.close()
        if reason[0] is not None:
            self.process.kill()
        self.process.wait()
        self.outbox.close()

    def encoded(self, chunk: Chunk) -> Result:
        try:
            send(self.inbox, *chunk.write())  # type: ignore[arg-type]
            answer = receive(self.outbox)  # type: ignore[arg-type]
        except (BrokenPipeError, EOFError):
            answer = None
        if answer is None:
            raise DanluError(
                f"{chunk.job.file}: the process tokenizing row {chunk.first + 1} and after ended with code "
                f"{self.process.wait()}; if memory ran out free some, and run the same command again: it goes on there"
            )
        header, blobs = answer
        if "error" in header:
            raise DataError(header["error"], file=header["file"], line=header["line"])
        return Result.parse(header, blobs)
