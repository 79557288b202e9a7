"""One step of a run as values, and the bytes that were found for it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ..core import config
from ..core.spec import Spec
from ..models import Architecture


@dataclass(frozen=True, kw_only=True)
class Work:
    """One step of a run: ``micros`` micro-batches, each of ``rows`` of ``length`` tokens.

    ``documents`` of equal lengths share a row and are attended one by one; ``counted`` is the share of slots whose
    logits are computed; ``chunk`` tokens' logits exist at once. What a recipe names (``precision``, ``recompute``,
    ``optim``, ``objective``, ``adapter``, ``also_train``, ``storage``) is written as there; ``options`` are its other
    settings of ``train``.
    """

    recipe: Architecture
    rows: int
    length: int
    micros: int = 1
    precision: Spec = field(default_factory=lambda: Spec("fp32"))
    recompute: str = "none"
    chunk: int = 1024
    optim: Spec = field(default_factory=lambda: Spec("adamw"))
    objective: Spec = field(default_factory=lambda: Spec("next_token"))
    adapter: Spec | None = None
    also_train: tuple[str, ...] = ()
    storage: Spec | None = None
    documents: int = 1
    counted: float = 1.0
    device: str = "cpu"
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def slots(self) -> int:
        return self.rows * self.length

    def key(self) -> str:
        """Text that equal works share, to remember what was found for them."""
        values = {**vars(self), "recipe": self.recipe.write()}
        return json.dumps(config.write(values), sort_keys=True, default=str)


@dataclass(frozen=True)
class Memory:
    """Bytes by phase and kind; the peak is the dearest phase. ``notes`` say what the figures do not know."""

    phases: dict[str, dict[str, int]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def peak_bytes(self) -> int:
        return max(sum(kinds.values()) for kinds in self.phases.values())

    @property
    def peak_phase(self) -> str:
        return max(self.phases, key=lambda name: sum(self.phases[name].values()))
