"""A loss scale that looks for the highest value that does not overflow."""

from __future__ import annotations

from ....core.errors import ConfigError, unknown
from .. import SCALES, Scale

DEFAULTS: dict[str, dict[str, float]] = {
    "torch": {"initial": 2.0**16, "interval": 2000, "hysteresis": 1, "minimum": 2.0**-14},
    "megatron": {"initial": 2.0**32, "interval": 1000, "hysteresis": 2, "minimum": 1.0},
    "deepspeed": {"initial": 2.0**16, "interval": 1000, "hysteresis": 2, "minimum": 1.0},
}


@SCALES.add("dynamic")
class Dynamic(Scale):
    """Grows after ``interval`` clean steps in a row, falls when gradients overflow; the step that did is skipped.

    clean:    streak += 1; at ``interval``: value ·= growth, streak = 0, forgiven = hysteresis.
    overflow: streak = 0, forgiven -= 1; once forgiven ≤ 0: value = max(value · backoff, minimum).

    ``like`` names whose defaults hold for what is not given: torch's GradScaler (initial 2¹⁶, interval 2000, hysteresis
    1, minimum 2⁻¹⁴), megatron (2³², 1000, 2, 1) or deepspeed (2¹⁶, 1000, 2, 1).
    Raises: ConfigError if a setting is out of range; DanluError on an overflow at the minimum.
    Source: Micikevicius et al. 2018, arXiv:1710.03740, §3.2; hysteresis: Megatron-LM, DynamicGradScaler.
    Truth:  tests/truth/test_scales.py (step by step against torch.amp.GradScaler; Megatron's rule worked by hand).
    """

    def __init__(
        self,
        *,
        like: str = "torch",
        initial: float | None = None,
        growth: float = 2.0,
        backoff: float = 0.5,
        interval: int | None = None,
        hysteresis: int | None = None,
        minimum: float | None = None,
    ) -> None:
        if like not in DEFAULTS:
            raise unknown("set of defaults", like, list(DEFAULTS), where="loss scale dynamic")
        given = {"initial": initial, "interval": interval, "hysteresis": hysteresis, "minimum": minimum}
        said = {**DEFAULTS[like], **{name: float(value) for name, value in given.items() if value is not None}}
        if not (float(growth) > 1 and 0 < float(backoff) < 1):
            raise ConfigError(
                f"loss scale dynamic: growth must be above 1 and backoff in (0, 1), found {growth}, {backoff}"
            )
        if said["interval"] < 1 or said["hysteresis"] < 1 or not 0 < said["minimum"] <= said["initial"]:
            raise ConfigError("loss scale dynamic: interval and hysteresis are at least 1, and 0 < minimum <= initial")
        self.value, self.minimum = said["initial"], said["minimum"]
        self.growth, self.backoff = float(growth), float(backoff)
        self.interval, self.hysteresis = int(said["interval"]), int(said["hysteresis"])
        self.streak, self.forgiven = 0, self.hysteresis

    def update(self, overflowed: bool) -> None:
        self._fell() if overflowed else self._held()

    def _fell(self) -> None:
        self.streak = 0
        self.forgiven -= 1
        if self.forgiven > 0:
            return
        if self.value <= self.minimum:
            raise self.at_its_lowest()
        self.value = max(self.value * self.backoff, self.minimum)

    def _held(self) -> None:
        self.streak += 1
        if self.streak == self.interval:
            self.streak, self.forgiven = 0, self.hysteresis
            self.value *= self.growth

    def state(self) -> dict[str, float]:
        return {"value": self.value, "streak": self.streak, "forgiven": self.forgiven}

    def restore(self, state: dict[str, float]) -> None:
        self.value, self.streak, self.forgiven = state["value"], int(state["streak"]), int(state["forgiven"])
