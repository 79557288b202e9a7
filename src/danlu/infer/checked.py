"""Settings that a request brings: of the right kind and within their range, or one sentence that says which are."""

from __future__ import annotations

import math
from typing import Any

from ..core.errors import ConfigError


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """``value``, if it is a whole number from ``least`` to ``most``; raises ConfigError if not."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        upper = "or more" if most is None else f"to {most}"
        raise ConfigError(f"{name} {value!r}: must be a whole number, {least} {upper}")
    return value


def number(name: str, value: Any, least: float, most: float) -> float:
    """``value``, if it is a number from ``least`` to ``most``; raises ConfigError if not."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not least <= value <= most:
        raise ConfigError(f"{name} {value!r}: must be a number from {least:g} to {most:g}")
    return float(value)
