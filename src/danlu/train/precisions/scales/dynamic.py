"""A loss scale that looks for the highest value that does not overflow."""

from __future__ import annotations

from ....core.errors import ConfigError
from .. import SCALES, Scale


@SCALES.add("dynamic")
class Dynamic(Scale):
    """Grows after ``interval`` clean steps in a row, falls when gradients overflow; the step that did is skipped.

    clean:    streak += 1; at ``interval``: value ·= growth, streak = 0, forgiven = hysteresis.
    overflow: streak = 0, forgiven -= 1; once forgiven ≤ 0: value = max(value · backoff, minimum).

    Defaults are torch's GradScaler. Megatron-LM: initial 2³², interval 1000, hysteresis 2, minimum 1. DeepSpeed:
    initial 2¹⁶, interval 1000, hysteresis 2, minimum 1.
    Raises: ConfigError if a setting is out of range; DanluError on an overflow at the minimum.
    Source: Micikevicius et al. 2018, arXiv:1710.03740, §3.2; hysteresis: Megatron-LM, DynamicGradScaler.
    Truth:  tests/truth/test_scales.py (step by step against torch.amp.GradScaler; Megatron's rule worked by hand).
    """

    def __init__(
        self,
        *,
        initial: float = 65536.0,
        growth: float = 2.0,
        backoff: float = 0.5,
        interval: int = 2000,
        hysteresis: int = 1,
        minimum: float = 2.0**-14,
    ) -> None:
        if not (float(growth) > 1 and 0 < float(backoff) < 1):
            raise ConfigError(
                f"loss scale dynamic: growth must be above 1 and backoff in (0, 1), found {growth}, {backoff}"
            )
        if interval < 1 or hysteresis < 1 or not 0 < float(minimum) <= float(initial):
            raise ConfigError("loss scale dynamic: interval and hysteresis are at least 1, and 0 < minimum <= initial")
        self.value, self.growth, self.backoff, self.minimum = (
            float(initial),
            float(growth),
            float(backoff),
            float(minimum),
        )
        self.interval, self.hysteresis = interval, hysteresis
        self.streak, self.forgiven = 0, hysteresis

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
