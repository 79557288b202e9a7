"""A forecast of a run: what it needs and takes, whether it fits, and as what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..core.errors import ConfigError
from ..core.files import write_json
from .choices import Choice, Search, need
from .cost import Bill
from .devices import Device
from .inference import inference
from .overhead import PROCESS, STAYS, fragmentation
from .page import page
from .ranks import Ranks
from .roofline import Bound, moved_bytes, step_seconds, training_operations
from .scaling import compute_optimal
from .sizes import Sizes, parameters
from .trained import Trained, trained
from .units import size
from .work import Memory, Work


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A forecast of one training step and of generation with the same model on ``device``, whose memory is the limit.

    ``memory_of`` finds the bytes of a step: ``danlu.train.forecast.memory_of`` traces the real one. ``steps`` is None
    where the data says it (epochs); ``limit`` overrides the device's memory; ``price`` is that of one device and hour.
    """

    title: str
    work: Work
    device: Device
    memory_of: Callable[[Work], Memory]
    steps: int | None = None
    limit: float | None = None
    ranks: Ranks = field(default_factory=Ranks)
    price: float = 0
    notes: tuple[str, ...] = ()
    serve_rows: int = 1
    serve_bytes: float = 4

    def __post_init__(self) -> None:
        if self.price < 0:
            raise ConfigError(f"--price must be at least 0, found {self.price:g}")

    @cached_property
    def sizes(self) -> Sizes:
        return parameters(self.work.recipe)

    @cached_property
    def trained(self) -> Trained:
        return trained(self.work)

    @cached_property
    def search(self) -> Search:
        return Search(self.work, self.memory_of, self.ranks)

    @cached_property
    def memory(self) -> Memory:
        """Of one rank while it trains, as torch's allocator counts."""
        return self.ranks.share(self.search.traced(self.work), self.work)

    @cached_property
    def phases(self) -> Memory:
        """Of one rank, with what comes on top and with the moments between steps."""
        between = {"eval": self._eval(), "save": self._states()}
        every = {**self.memory.phases, **{k: v for k, v in between.items() if k not in self.memory.phases}}
        extra = {p: {"fragmentation": fragmentation(k, self.work.device), "process": PROCESS} for p, k in every.items()}
        return Memory({phase: {**kinds, **extra[phase]} for phase, kinds in every.items()}, self.memory.notes)

    def _states(self) -> dict[str, int]:
        """What is there between steps: a checkpoint is written tensor by tensor from it."""
        return {kind: bytes_ for kind, bytes_ in self.memory.phases["step"].items() if kind in STAYS}

    def _eval(self) -> dict[str, int]:
        """A forward pass over held-out rows beside the optimizer's states: nothing is kept for a way back."""
        work, dims = self.work, self.work.recipe.dims
        passing = 4 * work.slots * (4 * dims.model + 3 * dims.ffn)
        return self._states() | {"logits": 4 * min(work.chunk, work.slots) * dims.vocab, "temporary": passing}

    @cached_property
    def inference(self) -> Memory:
        """Of generation; weights that are stored in fewer bits stay so."""
        dims = self.work.recipe.dims
        length = min(self.work.length, dims.context)
        cpu = self.work.device == "cpu"
        found = inference(self.work.recipe, rows=self.serve_rows, length=length, bytes_each=self.serve_bytes, cpu=cpu)
        if not self.trained.stored:
            return found
        whole = self.sizes.total + self.trained.added - self.trained.stored
        weights = round(self.serve_bytes * whole + self.trained.stored * self.trained.bits / 8)
        kept = {"weights": weights, "laid-out weights": 0}
        return Memory({phase: {**kinds, **kept} for phase, kinds in found.phases.items()})

    @property
    def peak_bytes(self) -> int:
        """Of training on one rank, as torch's allocator counts; the process itself comes on top."""
        return self.memory.peak_bytes

    @property
    def need_bytes(self) -> int:
        """What a device must have: the peak with an allowance for holes, and the process."""
        return need(self.memory, self.work.device)

    @property
    def said(self) -> tuple[str, ...]:
        """Notes, and what the figures leave out."""
        return (*self.notes, *self.memory.notes)

    @property
    def room(self) -> float:
        return self.limit or self.device.memory

    @property
    def fits(self) -> bool:
        return self.need_bytes <= self.room

    @property
    def tokens_a_step(self) -> int:
        return self.work.slots * self.work.micros * self.ranks.count

    @cached_property
    def seconds(self) -> tuple[float, float]:
        """Of one step, least and most."""
        return step_seconds(self.work, self.device, self.memory)

    @property
    def bound(self) -> Bound:
        """Whether a step waits for arithmetic or for memory."""
        return Bound(
            flops=training_operations(self.work), bytes_=moved_bytes(self.work, self.memory),
            rate=self.device.rate(self.work.precision.use), bandwidth=self.device.bandwidth,
        )  # fmt: skip

    @property
    def bills(self) -> tuple[Bill, Bill] | None:
        """Hours and money of the whole run, least and most, where steps and rates are known."""
        if not self.steps or not self.device.timed:
            return None
        low, high = (
            Bill(device_hours=self.steps * s / 3600 * self.ranks.count, devices=self.ranks.count, price=self.price)
            for s in self.seconds
        )
        return low, high

    @cached_property
    def choices(self) -> list[Choice]:
        return self.search.every()

    @cached_property
    def remedies(self) -> tuple[Choice | None, Choice]:
        """The mildest change with the same gradients that fits, and the one that needs least."""
        return self.search.remedy(self.room)

    def check(self) -> Plan:
        """Itself if it fits; raises ConfigError with the mildest change that makes it fit, or the nearest miss."""
        if self.fits:
            return self
        change, least = self.remedies
        needs = f"{self.title}: needs {size(self.need_bytes)}, but {self.device.name} has {size(self.room)}"
        if change is not None:
            raise ConfigError(f"{needs}; with {change.changes} it needs {size(change.need_bytes)} and fits")
        other = self.search.way_out(self.room)
        rest = "take a smaller model or a larger machine"
        if other is not None:
            rest = f"{other.changes} would need {size(other.need_bytes)} and fit, or {rest}"
        raise ConfigError(f"{needs}; even with {least.changes} it needs {size(least.need_bytes)}: {rest}")

    def write(self, path: str | Path) -> None:
        """The same as JSON."""
        write_json(path, self.data())

    def data(self) -> dict[str, Any]:
        """Plain values, in bytes, FLOPs, seconds and the money of the price."""
        timed, bills = self.device.timed, self.bills
        return {
            "title": self.title,
            "parameters": {**self.sizes.kinds, "total": self.sizes.total, "active": self.sizes.active},
            "trained_parameters": self.trained.trains,
            "training_bytes": self.phases.phases,
            "peak_bytes": self.peak_bytes,
            "peak_phase": self.memory.peak_phase,
            "need_bytes": self.need_bytes,
            "inference_bytes": self.inference.phases,
            "ranks": self.ranks.count,
            "zero_stage": self.ranks.stage,
            "tokens_a_step": self.tokens_a_step,
            "steps": self.steps,
            "flops_a_step": training_operations(self.work) * self.ranks.count,
            "seconds_a_step": list(self.seconds) if timed else None,
            "bound_by": self.bound.by if timed else None,
            "device_hours": [bill.device_hours for bill in bills] if bills else None,
            "cost": [bill.money for bill in bills] if bills and self.price else None,
            "compute_optimal_tokens": compute_optimal(self.sizes.total),
            "device": self.device.name,
            "memory_of_device": self.room,
            "fits": self.fits,
            "choices": {c.changes: c.peak_bytes for c in self.choices},
            "choices_need": {c.changes: c.need_bytes for c in self.choices},
            "notes": list(self.said),
        }

    def table(self) -> str:
        """Plain text, aligned, every number with its unit."""
        return page(self)
