"""What a run is made of: the dataclass behind a recipe's YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..core.errors import ConfigError
from ..core.spec import Spec
from ..data.recipe import DataRecipe


@dataclass(frozen=True, kw_only=True)
class TrainRecipe:
    """How long and in which pieces: ``tokens`` a step and ``micro`` at once, both counted as slots of rows.

    ``epochs`` or ``steps`` ends the run; ``ramp`` lists [step, factor] pairs: from that step on a step takes
    ``factor`` × ``tokens``. ``chunk`` is how many tokens' logits exist at once.

    What trades time for memory: ``recompute`` makes again in backward nothing (keep), what is nearly free (none), what
    is cheap beside attention (ops), or whole blocks; ``offload`` lets activations, the optimizer's states or frozen
    parameters rest at the host; ``fused_step`` moves each weight within backward, so that no gradient is kept.
    """

    steps: int | None = None
    epochs: float | None = None
    tokens: int = 8192
    micro: int = 4096
    clip: float | None = 1.0
    precision: Spec = field(default_factory=lambda: Spec("fp32"))
    recompute: Literal["keep", "none", "ops", "blocks"] = "none"
    offload: list[Literal["activations", "optimizer", "parameters"]] = field(default_factory=list)
    fused_step: bool = False
    ramp: list[tuple[int, int]] = field(default_factory=list)
    chunk: int = 1024
    threads: int | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ConfigError("train: give either steps or epochs")
        for name in ("steps", "epochs", "tokens", "micro", "clip", "chunk", "threads"):
            if (value := getattr(self, name)) is not None and value <= 0:
                raise ConfigError(f"train.{name} must be above 0, found {value}")
        if any(start < 0 or factor < 1 for start, factor in self.ramp):
            raise ConfigError(f"train.ramp lists [step, factor] with factor at least 1, found {self.ramp}")
        if self.fused_step and (self.clip is not None or self.micro < self.tokens or self.ramp):
            raise ConfigError(
                "train.fused_step moves weights before all gradients are there: set train.clip: null and train.micro "
                "to train.tokens, and strike ramp"
            )


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A whole run. ``base`` continues an existing model, ``architecture`` begins a new one.

    A base may be given another encoding of positions, ``position``, and another ``context``, to learn longer texts.
    ``adapter`` trains few numbers instead of all, ``also_train`` names parameters of the base that train beside it
    (``embed``, ``head``), and ``storage`` is how the frozen linear maps of its blocks are kept.
    """

    data: DataRecipe
    train: TrainRecipe
    seed: int = 0
    base: str | None = None
    position: Spec | None = None
    context: int | None = None
    architecture: Spec | None = None
    tokenizer: str | None = None
    storage: Spec | None = None
    adapter: Spec | None = None
    also_train: list[str] = field(default_factory=list)
    objective: Spec = field(default_factory=lambda: Spec("next_token"))
    optim: Spec = field(default_factory=lambda: Spec("adamw"))
    schedule: Spec = field(default_factory=lambda: Spec("cosine"))
    hooks: list[Spec] = field(default_factory=lambda: [Spec("save"), Spec("log")])

    def __post_init__(self) -> None:
        if (self.base is None) == (self.architecture is None):
            raise ConfigError("give either base (a model to continue) or architecture (a newborn model)")
        if self.context is not None and self.context <= 0:
            raise ConfigError(f"context must be above 0, found {self.context}")
        if self.base is None and (self.position or self.context):
            raise ConfigError("position and context change those of a base; a newborn model's stand in architecture")
        if self.storage and not self.adapter:
            raise ConfigError(
                "storage is how frozen weights are kept, so it needs an adapter that trains in their place"
            )
        if self.also_train and not self.adapter:
            raise ConfigError("also_train names what trains beside an adapter; without one everything trains")
        if self.base is None and self.tokenizer is None:
            raise ConfigError("a newborn model needs tokenizer: the path of a tokenizer")
