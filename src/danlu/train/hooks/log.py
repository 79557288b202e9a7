"""Numbers on disk and on the screen."""

from __future__ import annotations

from contextlib import ExitStack

from ...core.errors import ConfigError
from ...core.progress import Bar, bar
from ..numbers import Numbers
from . import HOOKS, Ask, Hook, Sight, due


@HOOKS.add("log")
class Log(Hook):
    """Appends a line to metrics.jsonl every ``every`` steps, and moves a bar with loss, tokens/s, MFU and time left.

    mfu = FLOPs of the step's real tokens / seconds / FLOP/s that this machine reaches in a matrix product.

    Source: MFU: Chowdhery et al. 2022, arXiv:2204.02311, appendix B.
    Truth:  tests/truth/test_log.py (the figures of a step worked by hand; resumed runs hold each step once).
    """

    turn = 10

    def __init__(self, *, every: int = 1) -> None:
        if every < 1:
            raise ConfigError(f"hook log: every is at least 1, found {every}")
        self.every, self.step = every, 0

    def begin(self, sight: Sight) -> Ask:
        self.step, self._stack = sight.start, ExitStack()
        made = bar("training", sight.steps, unit="steps", done=sight.start, quiet=sight.quiet)
        self._bar: Bar = self._stack.enter_context(made)
        return super().begin(sight)

    def after(self, numbers: Numbers) -> Ask:
        speed = numbers.tokens / numbers.seconds
        mfu = speed * self.sight.flops / rate if (rate := self.sight.rate()) else None
        if due(numbers.step, self.every, self.sight.steps):
            self.sight.record(_line(numbers, speed, mfu))
        shown = {"loss": f"{numbers.loss:.3f}", "tok/s": f"{speed:,.0f}"}
        self._bar.advance(numbers.step - self.step, **shown, **({} if mfu is None else {"MFU": f"{mfu:.0%}"}))
        self.step = numbers.step
        return Ask()

    def rewound(self, step: int) -> None:
        self._bar.advance(step - self.step)
        self.step = step

    def end(self) -> None:
        self._stack.close()


def _line(numbers: Numbers, speed: float, mfu: float | None) -> dict[str, float | int | None]:
    line = {
        "step": numbers.step,
        "loss": numbers.loss,
        "norm": numbers.norm,
        "lr": numbers.lr,
        "tokens": numbers.tokens_seen,
        "seconds": round(numbers.seconds, 6),
        "tokens_per_s": round(speed, 1),
        "mfu": None if mfu is None else round(mfu, 4),
        **numbers.metrics,
    }
    return line if numbers.scale is None else {**line, "scale": numbers.scale, "skipped": int(numbers.skipped)}
