"""One micro-batch of a run, and the bytes that a calculator finds for it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..models import Architecture


@dataclass(frozen=True, kw_only=True)
class Work:
    """One micro-batch of a run: ``rows`` of ``length`` tokens; ``micros`` of them make a step.

    ``optimizer_bytes`` a parameter are the optimizer's states; ``documents``: rows hold several, attended one by one;
    ``counted`` is the share of slots whose logits are computed; ``chunk`` tokens' logits exist at once.
    """

    recipe: Architecture
    rows: int
    length: int
    micros: int = 1
    precision: str = "fp32"
    recompute: bool = False
    chunk: int = 1024
    optimizer_bytes: float = 8
    documents: bool = False
    counted: float = 1.0

    @property
    def slots(self) -> int:
        return self.rows * self.length


@dataclass(frozen=True)
class Memory:
    """Bytes by phase and kind; the peak is the dearest phase."""

    phases: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def peak_bytes(self) -> int:
        return max(sum(kinds.values()) for kinds in self.phases.values())

    @property
    def peak_phase(self) -> str:
        return max(self.phases, key=lambda name: sum(self.phases[name].values()))
