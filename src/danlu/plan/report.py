"""What a run will cost, on one page: parameters, bytes by phase and kind, arithmetic, time, and what fits."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core.errors import ConfigError
from ..core.files import write_json
from .choices import PROCESS, Choice, choices, remedy
from .covered import left_out
from .devices import Device
from .footprint import inference, memory
from .operations import training_flops
from .published import rules_of_thumb
from .roofline import decode_seconds, step_operations, step_seconds
from .scaling import EPOCH
from .sizes import Sizes, parameters
from .work import Memory, Work

UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
SCALES = (("E", 1e18), ("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A forecast of one training step and of generation with the same model on ``device``, whose memory is the limit.

    ``steps`` is None where the data says it (epochs); ``limit`` overrides the device's memory.
    """

    title: str
    work: Work
    device: Device
    steps: int | None = None
    limit: float | None = None
    notes: tuple[str, ...] = ()
    serve_rows: int = 1
    serve_bytes: float = field(default=4)

    @cached_property
    def sizes(self) -> Sizes:
        return parameters(self.work.recipe)

    @cached_property
    def memory(self) -> Memory:
        return memory(self.work)

    @cached_property
    def inference(self) -> Memory:
        dims = self.work.recipe.dims
        length = min(self.work.length, dims.context)
        cpu = self.device.attention is not None  # only a measured machine may be one
        return inference(self.work.recipe, rows=self.serve_rows, length=length, bytes_each=self.serve_bytes, cpu=cpu)

    @property
    def peak_bytes(self) -> int:
        """Of training, as torch's allocator counts; the process itself comes on top."""
        return self.memory.peak_bytes

    @property
    def said(self) -> tuple[str, ...]:
        """Notes, and what the figures leave out."""
        return (*self.notes, *left_out(self.work))

    @property
    def room(self) -> float:
        return self.limit or self.device.memory

    @property
    def fits(self) -> bool:
        return self.peak_bytes + PROCESS <= self.room

    def check(self) -> Plan:
        """Itself if it fits; raises ConfigError with the mildest change that makes it fit, or the nearest miss."""
        if self.fits:
            return self
        change, least = remedy(self.work, self.room)
        needs = f"{self.title}: needs {size(self.peak_bytes + PROCESS)}, but {self.device.name} has {size(self.room)}"
        if change is not None:
            raise ConfigError(f"{needs}; with {change.changes} it needs {size(change.peak_bytes + PROCESS)} and fits")
        raise ConfigError(
            f"{needs}; even with {least.changes} it needs {size(least.peak_bytes + PROCESS)}: take a smaller model "
            "or a larger machine"
        )

    def write(self, path: str | Path) -> None:
        """The same as JSON."""
        write_json(path, self.data())

    def data(self) -> dict[str, Any]:
        """Plain values, in bytes, FLOPs and seconds."""
        done = step_operations(self.work)
        return {
            "title": self.title,
            "parameters": {**self.sizes.kinds, "total": self.sizes.total},
            "training_bytes": self.memory.phases,
            "peak_bytes": self.peak_bytes,
            "peak_phase": self.memory.peak_phase,
            "inference_bytes": self.inference.phases,
            "tokens_a_step": self.work.slots * self.work.micros,
            "steps": self.steps,
            "flops_a_step": done.training(recompute=self.work.recompute),
            "seconds_a_step": list(step_seconds(self.work, self.device)),
            "device": self.device.name,
            "memory_of_device": self.room,
            "fits": self.fits,
            "choices": {c.changes: c.peak_bytes for c in choices(self.work)},
            "notes": list(self.said),
        }

    def table(self) -> str:
        """Plain text, aligned, every number with its unit."""
        parts = [
            self._parameters(),
            self._training(),
            self._fits(),
            self._arithmetic(),
            self._inference(),
            self._thumb(),
        ]
        notes = "\n".join(f"note: {note}" for note in self.said)
        return "\n\n".join(filter(None, [f"plan of {self.title}", *parts, notes]))

    def _parameters(self) -> str:
        rows = [(kind, f"{n:,}") for kind, n in self.sizes.kinds.items() if n] + [("total", f"{self.sizes.total:,}")]
        return aligned([("parameters", ""), *rows])

    def _training(self) -> str:
        work = self.work
        cut = f"{work.micros} micro-batch{'es' * (work.micros > 1)} of {work.rows} × {work.length} tokens"
        again = ", blocks recomputed" if work.recompute else ""
        return f"a training step: {cut}, {work.precision}{again}\n{phases(self.memory)}"

    def _fits(self) -> str:
        verdict = "fits" if self.fits else "does not fit"
        head = (
            f"peak {size(self.peak_bytes)} in {self.memory.peak_phase}, and about {size(PROCESS)} for the process "
            f"itself: {verdict} into {size(self.room)} of {self.device.name}"
        )
        rows = [("choice", "peak", "arithmetic", "fits"), *map(self._choice, choices(self.work))]
        return f"{head}\n{aligned(rows)}"

    def _choice(self, choice: Choice) -> tuple[str, str, str, str]:
        fits = "yes" if choice.peak_bytes + PROCESS <= self.room else "no"
        return choice.changes, size(choice.peak_bytes), f"{choice.arithmetic:.2f} ×", fits

    def _arithmetic(self) -> str:
        done, tokens = step_operations(self.work), self.work.slots * self.work.micros
        low, high = step_seconds(self.work, self.device)
        pace = f"{duration(low)} to {duration(high)} a step, {rate(tokens / high)} to {rate(tokens / low)} tokens/s"
        rows = [
            ("arithmetic of a step", ""),
            ("forward: linear, attention, head", f"{flop(done.linear)}, {flop(done.scores)}, {flop(done.head)}"),
            ("exact, with gradients", flop(done.training(recompute=self.work.recompute))),
            ("rule of thumb 6·N·D", flop(training_flops(self.sizes.total, tokens))),
            (f"time on {self.device.name}", pace),
        ]
        if self.steps:
            whole = f"{duration(self.steps * low)} to {duration(self.steps * high)}"
            rows.append(("the whole run", f"{self.steps:,} steps, {self.steps * tokens:,} tokens, {whole}"))
        return aligned(rows)

    def _inference(self) -> str:
        decode = self.inference.phases["decode"]
        read = decode["weights"] + decode["kv cache"]
        pace = decode_seconds(read, self.device)
        rows = f"{self.serve_rows} row{'s' * (self.serve_rows > 1)} of up to {self.work.length} tokens"
        head = f"generation: {rows}, {self.serve_bytes:g} bytes a number\n{phases(self.inference)}"
        return f"{head}\nat least {duration(pace)} a token of each row (weights and cache are read once)"

    def _thumb(self) -> str:
        rows = [("rules of thumb, beside the figures above", "")]
        rows += [(rule, size(bytes_)) for rule, bytes_ in rules_of_thumb(self.sizes.total).items()]
        rows.append(
            ("tokens that make this size the best use of its arithmetic", f"{EPOCH.tokens_for(self.sizes.total):,.3g}")
        )
        return aligned(rows)


def phases(found: Memory) -> str:
    """Kinds down, phases across."""
    kinds = list(dict.fromkeys(kind for held in found.phases.values() for kind, bytes_ in held.items() if bytes_))
    rows = [("bytes", *found.phases)]
    rows += [(kind, *(size(held.get(kind, 0)) for held in found.phases.values())) for kind in kinds]
    return aligned([*rows, ("sum", *(size(sum(held.values())) for held in found.phases.values()))])


def aligned(rows: list[tuple[str, ...]]) -> str:
    """The first column to the left under its heading, the others to the right."""
    count = max(map(len, rows))
    full = [(*row, *[""] * (count - len(row))) for row in rows]
    widths = [max(len(row[i]) for row in full) for i in range(count)]
    lines = []
    for number, row in enumerate(full):
        name = row[0] if number == 0 else f"  {row[0]}"
        cells = [cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0] + 2), *cells]).rstrip())
    return "\n".join(lines)


def size(bytes_: float) -> str:
    """Bytes in binary units: "1.50 GiB"."""
    if not bytes_:
        return "–"
    unit, scale = next(((u, s) for u, s in UNITS if bytes_ >= s), ("B", 1))
    return f"{bytes_ / scale:.3g} {unit}" if bytes_ / scale < 1000 else f"{bytes_ / scale:,.0f} {unit}"


def flop(count: float) -> str:
    unit, scale = next(((u, s) for u, s in SCALES if count >= s), ("", 1))
    return f"{count / scale:.3g} {unit}FLOP"


def rate(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def duration(seconds: float) -> str:
    """The largest fitting unit: "3.2 ms", "1.5 h"."""
    for unit, scale in (("days", 86_400), ("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"
