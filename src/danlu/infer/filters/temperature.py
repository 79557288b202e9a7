"""Flatter or sharper: all logits divided by one number."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...core.errors import ConfigError
from ..rows import Row
from . import FILTERS, Filter


@FILTERS.add("temperature")
class Temperature(Filter):
    """Divides the logits: p_i ∝ exp(logit_i / τ), so τ < 1 sharpens the law and τ > 1 flattens it.

    logits: (B, V).  Raises: ConfigError if the value is not above 0 (0 means greedy, which is a decoder).
    Source: Ackley, Hinton, Sejnowski 1985, "A learning algorithm for Boltzmann machines", Cognitive Science 9.
    Truth:  tests/truth/test_filtering.py (transformers' TemperatureLogitsWarper; entropy rises with τ).
    """

    order = 10
    neutral = 1.0
    strong = 0.4
    wrong = (0.0, -1, float("nan"), float("inf"))
    shapes = True

    def __init__(self, *, value: float) -> None:
        if not 0 < value < float("inf"):
            raise ConfigError(f"temperature {value}: must be 0 (greedy) or above")
        self.value = value

    def __call__(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        return logits / self.value
