"""A loss scale that stays."""

from __future__ import annotations

from ....core.errors import ConfigError
from .. import SCALES, Scale


@SCALES.add("static")
class Static(Scale):
    """Multiplies the loss by the same number all along; a step that overflows is skipped.

    Raises: ConfigError if the scale is not above 0; DanluError after ``patience`` overflows in a row.
    Source: Micikevicius et al. 2018, arXiv:1710.03740, §3.2.
    Truth:  tests/truth/test_scales.py (an overflow trace worked by hand).
    """

    def __init__(self, *, value: float = 1024.0, patience: int = 20) -> None:
        if not float(value) > 0:
            raise ConfigError(f"loss scale static: value must be above 0, found {value}")
        self.value, self.patience, self.overflows = float(value), patience, 0

    def update(self, overflowed: bool) -> None:
        self.overflows = self.overflows + 1 if overflowed else 0
        if self.overflows >= self.patience:
            raise self.at_its_lowest()

    def state(self) -> dict[str, float]:
        return {"value": self.value, "overflows": self.overflows}

    def restore(self, state: dict[str, float]) -> None:
        self.value, self.overflows = state["value"], int(state["overflows"])
