"""The loss on held-out rows at intervals."""

from __future__ import annotations

from ...core.errors import ConfigError
from ..numbers import Numbers
from . import HOOKS, Ask, Hook, Sight, due


@HOOKS.add("evaluate")
class Evaluate(Hook):
    """Measures the held-out loss before the first step, every ``every`` steps and at the end.

    held_out_loss = Σ weight · nll / Σ weight over the held-out rows, in nats a token; bits_per_byte beside it.

    Raises: ConfigError if nothing is held out.
    Source: Stone 1974, "Cross-validatory choice and assessment of statistical predictions".
    Truth:  tests/truth/test_held_out.py (a uniform model: ln V nats; the byte sum by hand).
    """

    turn = 30

    def __init__(self, *, every: int = 200) -> None:
        if every < 1:
            raise ConfigError(f"hook evaluate: every is at least 1, found {every}")
        self.every = every

    def begin(self, sight: Sight) -> Ask:
        ask = super().begin(sight)
        measured = {line["step"] for line in sight.recorded() if "held_out_loss" in line}
        if sight.start not in measured and due(sight.start, self.every, sight.steps):
            self._measure(sight.start)
        return ask

    def after(self, numbers: Numbers) -> Ask:
        if due(numbers.step, self.every, self.sight.steps):
            self._measure(numbers.step)
        return Ask()

    def _measure(self, step: int) -> None:
        found = self.sight.evaluate()
        self.sight.record({"step": step, **found})
        self.sight.note(
            f"step {step}: " + ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in found.items())
        )
