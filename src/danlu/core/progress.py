"""Progress that shows itself: one bar with rate and time left, silent when asked or when nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Bar(Protocol):
    """Something that can be told how far the work is."""

    def advance(self, done: float = 1, **shown: str) -> None: ...


class _Silent:
    def advance(self, done: float = 1, **shown: str) -> None:
        return


class _Rich:
    def __init__(self, progress: object, task: object) -> None:
        self.progress, self.task = progress, task

    def advance(self, done: float = 1, **shown: str) -> None:
        text = "  ".join(f"{name} {value}" for name, value in shown.items())
        update = getattr(self.progress, "update")  # noqa: B009  (rich is imported only when a bar is shown)
        update(self.task, advance=done, **({"shown": text} if text else {}))


@contextmanager
def bar(title: str, total: float | None, *, unit: str = "it", done: int = 0, quiet: bool = False) -> Iterator[Bar]:
    """A bar on stderr; ``advance(n, loss="1.23")`` moves it and shows values beside it."""
    if quiet or not sys.stderr.isatty():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} " + unit if total else "{task.completed:,.0f} " + unit),
        TextColumn("{task.fields[shown]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Rich(progress, progress.add_task(title, total=total, completed=done, shown=""))
