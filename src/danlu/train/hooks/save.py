"""Checkpoints at intervals."""

from __future__ import annotations

from ...core.errors import ConfigError
from ..numbers import Numbers
from . import HOOKS, Ask, Hook, due


@HOOKS.add("save")
class Save(Hook):
    """Asks for a checkpoint every ``every`` steps and at the end; the run keeps the newest ``keep`` of them.

    It comes before the hook evaluate: an evaluation that fails costs no step.
    Raises: ConfigError if every or keep is below 1.
    Source: Gray 1981, "The transaction concept: virtues and limitations" (a state is whole or not there).
    Truth:  tests/faults/test_train_kill.py (killed anywhere and resumed, every bit is as if uninterrupted).
    """

    turn = 20

    def __init__(self, *, every: int = 200, keep: int | None = 3) -> None:
        if every < 1 or (keep is not None and keep < 1):
            raise ConfigError(f"hook save: every and keep are at least 1, found every {every}, keep {keep}")
        self.every, self.keep = every, keep

    def after(self, numbers: Numbers) -> Ask:
        return Ask(save=due(numbers.step, self.every, self.sight.steps))
