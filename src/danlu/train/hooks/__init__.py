"""What happens around steps: a hook reads numbers and may ask for a save, a stop or a rewind, nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...core.registry import Registry
from ..numbers import Numbers


@dataclass(frozen=True)
class Ask:
    """A hook's wish. ``stop`` and ``rewind`` say why; a rewind also skips the batches of the step it answers."""

    save: bool = False
    stop: str = ""
    rewind: str = ""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a hook may see of the run it watches.

    ``evaluate`` measures the held-out rows; ``blame`` runs the last step's batch again and names what went wrong;
    ``record`` appends a line to metrics.jsonl; ``note`` one to log.txt; ``recorded`` answers the lines so far.
    ``flops`` are those of one trained token, ``rate`` what the machine reaches in FLOP/s (0 if unknown).
    """

    folder: Path
    start: int
    steps: int
    quiet: bool
    flops: float
    evaluate: Callable[[], dict[str, float]]
    blame: Callable[[], str]
    record: Callable[[dict[str, Any]], None]
    recorded: Callable[[], list[dict[str, Any]]]
    note: Callable[[str], None]
    rate: Callable[[], float]


class Hook(ABC):
    """Asked after every step, in the order of ``turn``: rescue 0, log 10, save 20, evaluate 30."""

    turn: ClassVar[int] = 15
    hears_faults: ClassVar[bool] = False
    """Whether ``after`` is told of steps that were not finite, which never reached the weights."""
    keep: int | None = None
    """How many checkpoints the run keeps; None: this hook has no opinion."""

    def begin(self, sight: Sight) -> Ask:
        """Called once, before the first step of this process."""
        self.sight = sight
        return Ask()

    @abstractmethod
    def after(self, numbers: Numbers) -> Ask: ...

    def rewound(self, step: int) -> None:
        """The run went back to the end of ``step``."""
        return

    def end(self) -> None:
        """Called once, when the process leaves the loop, also by an error."""
        return


def due(step: int, every: int, last: int) -> bool:
    """Whether ``step`` is a multiple of ``every`` or the last."""
    return step % every == 0 or step == last


HOOKS: Registry[type[Hook]] = Registry("hook", Hook, __name__)
