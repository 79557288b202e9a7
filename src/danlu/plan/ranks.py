"""What one of several ranks holds under ZeRO."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import ConfigError
from .sizes import parameters
from .work import Memory, Work

SHARDED = ({"optimizer", "master weights"}, {"gradients"}, {"weights", "frozen weights"})
"""Kinds that a rank holds a share of, from stage 1, 2 and 3 on."""

BUCKET = 25 * 2**20


@dataclass(frozen=True)
class Ranks:
    """``count`` devices that train together, each on micro-batches of its own, and shard what ZeRO's ``stage`` says.

    Stage 1 divides the optimizer's states, 2 the gradients too, 3 the weights too. Beside its shares a rank holds two
    buckets of 25 MiB of gradients on their way (stages 0 to 2), or in stage 3 the whole weights of two blocks, the one
    at hand and the next, and of the head.

    Raises: ConfigError for a stage that does not exist, or a stage with nothing to share.
    Source: Rajbhandari et al. 2020, arXiv:1910.02054, §5; Zhao et al. 2023, arXiv:2304.11277 (prefetching one unit).
    Truth:  tests/truth/test_plan_ranks.py (against ``published.zero_bytes``).
    """

    count: int = 1
    stage: int = 0

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"--ranks must be at least 1, found {self.count}")
        if self.stage not in range(4):
            raise ConfigError(f"ZeRO has the stages 0, 1, 2 and 3, found {self.stage}")
        if self.stage and self.count == 1:
            raise ConfigError(f"ZeRO stage {self.stage} shares between ranks: give --ranks 2 or more")

    def share(self, memory: Memory, work: Work) -> Memory:
        """Bytes of one rank, by phase."""
        if self.count == 1:
            return memory
        divided = set().union(*SHARDED[: self.stage])
        phases = {}
        for phase, kinds in memory.phases.items():
            mine = {kind: -(-b // self.count) if kind in divided else b for kind, b in kinds.items()}
            phases[phase] = mine | self._moving(phase, work)
        return Memory(phases, memory.notes)

    def _moving(self, phase: str, work: Work) -> dict[str, int]:
        """What is there besides while blocks compute."""
        if phase not in ("loss", "backward"):
            return {}
        if self.stage < len(SHARDED):
            return {"buckets": 2 * BUCKET * (phase == "backward")}
        sizes = parameters(work.recipe)
        each = 4 if work.precision.use in ("fp32", "tf32") else 2
        return {"gathered weights": each * (2 * sizes.block + sizes.head_weights)}

    @property
    def words(self) -> str:
        return f"{self.count} ranks, ZeRO stage {self.stage}"
