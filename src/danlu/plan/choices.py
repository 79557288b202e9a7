"""What each saving of memory would bring: the same step cut otherwise, with its price."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from .footprint import memory
from .roofline import step_operations
from .work import Work

PROCESS = 600 * 2**20  # resident memory of a process that has imported torch; on a GPU, its context
CHUNK = 256


@dataclass(frozen=True)
class Choice:
    """``changes`` as a recipe writes them, the peak they lead to, and the arithmetic relative to the plan's."""

    changes: str
    work: Work
    peak_bytes: int
    arithmetic: float


def choices(work: Work) -> Iterator[Choice]:
    """From the mildest to the strongest; gradients are the same in all (micro-batches add up exactly)."""
    yield choice(work, work)
    for recompute in {work.recompute: None, True: None}:
        rows = work.rows
        while True:
            cut = replace(work, recompute=recompute, rows=rows, micros=-(-work.rows * work.micros // rows))
            if cut != work:
                yield choice(work, cut)
            if rows == 1:
                break
            rows = max(1, rows // 2)
    if work.chunk > CHUNK:
        smallest = replace(work, recompute=True, rows=1, micros=work.rows * work.micros, chunk=CHUNK)
        yield choice(work, smallest)


def choice(work: Work, cut: Work) -> Choice:
    """How ``cut`` differs from ``work``."""
    words = [
        f"train.micro={cut.slots}" * (cut.rows != work.rows),
        "train.recompute=blocks" * (cut.recompute and not work.recompute),
        f"train.chunk={cut.chunk}" * (cut.chunk != work.chunk),
    ]
    arithmetic = step_operations(cut).training(recompute=cut.recompute) / step_operations(work).training(
        recompute=work.recompute
    )
    return Choice(" ".join(filter(None, words)) or "as planned", cut, memory(cut).peak_bytes, arithmetic)


def remedy(work: Work, limit: float) -> tuple[Choice | None, Choice]:
    """The mildest choice that fits into ``limit`` bytes, if any, and the one that needs least."""
    found = list(choices(work))
    fitting = (c for c in found if c.peak_bytes + PROCESS <= limit)
    return next(fitting, None), min(found, key=lambda c: c.peak_bytes)
