"""What one step measured: all that hooks may read of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """One step. ``loss`` is Σ total / Σ weight in nats, ``norm`` that of its gradient before clipping.

    ``tokens`` counts real tokens (padding not), ``tokens_seen`` those since step 1; ``seconds`` is the update alone.
    ``skipped``: gradients overflowed fp16 and the step left the weights as they were. ``batches`` numbers the
    batches of the stream that went in. ``scale`` is the loss scale used, if any.
    """

    step: int
    loss: float
    norm: float
    lr: float
    tokens: int
    tokens_seen: int
    seconds: float
    batches: tuple[int, ...]
    skipped: bool = False
    scale: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    @property
    def finite(self) -> bool:
        """Whether the step changed the weights, or was skipped by the loss scale for a good reason."""
        return math.isfinite(self.loss) and (self.skipped or math.isfinite(self.norm))
