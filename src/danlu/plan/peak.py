"""What a run really took: the high-water mark of memory, cheap enough to stand around every run."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_HIGH_WATER = "5"  # the kernel's word for it: proc(5), /proc/pid/clear_refs


@dataclass
class Peak:
    """Filled when the block ends. ``bytes_`` is the highest memory above what was held when it began, ``left`` what it
    left behind.

    ``kind`` says what was counted: "cuda allocator", "resident" (anonymous pages of this process; files read through
    a memory map are not counted) or "resident, whole life" where the kernel cannot reset its mark.
    """

    bytes_: int = 0
    left: int = 0
    kind: str = ""


@contextmanager
def measuring() -> Iterator[Peak]:
    """``with measuring() as peak: …`` then ``peak.bytes_``; enter it before the model is built, so weights count.

    It costs two reads of a small file: no sampling thread, no hook. On CUDA it is the allocator's own high-water mark.
    Truth: tests/truth/test_plan_peak.py (a tensor of known size that lived only inside the block).
    """
    import torch

    gc.collect()
    peak = Peak()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield peak
        peak.bytes_, peak.kind = torch.cuda.max_memory_allocated() - before, "cuda allocator"
        peak.left = torch.cuda.memory_allocated() - before
        return
    reset = _reset()
    before = _resident()
    yield peak
    peak.bytes_, peak.left = max(0, _high_water() - before), _resident() - before
    peak.kind = "resident" if reset else "resident, whole life"


@contextmanager
def allocating(after: str = "") -> Iterator[Peak]:
    """The highest sum of tensors that torch's CPU allocator held at once; exact, and slow: torch's profiler watches.

    Tensors made before the block are not counted; of those made within, the highest sum from the first event called
    ``after`` on. For tests and docs/planner-accuracy, not for runs.
    Truth: tests/truth/test_plan_peak.py (known tensors, freed and kept).
    """
    from torch.profiler import ProfilerActivity, profile

    gc.collect()
    peak = Peak(kind="torch allocator")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watch:
        yield peak
    now, counts = 0, not after
    results = watch.profiler.kineto_results  # type: ignore[union-attr]
    for event in sorted(results.events(), key=lambda e: e.start_ns()):  # type: ignore[union-attr]
        if event.name() == "[memory]":
            now += event.nbytes()  # type: ignore[attr-defined]  (torch's stub lacks it)
        elif event.name() == after:
            counts = True
        peak.bytes_ = max(peak.bytes_, now) if counts else 0
    peak.left = now


def _reset() -> bool:
    _trim()
    try:
        CLEAR.write_text(RESET_HIGH_WATER)
    except OSError:
        return False
    return True


def _trim() -> None:
    """Gives freed memory back to the kernel, so that it is not reused unseen; only glibc knows how."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _resident() -> int:
    """Anonymous pages held now."""
    return _status("RssAnon") if STATUS.exists() else _life()


def _high_water() -> int:
    """The most anonymous pages held: the kernel's mark counts mapped files too; those held at the end are taken off."""
    return _status("VmHWM") - _status("RssFile") - _status("RssShmem") if STATUS.exists() else _life()


def _status(name: str) -> int:
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def _life() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
