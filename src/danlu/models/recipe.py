"""What a model is made of, as values: the architecture that a checkpoint keeps and every family fills."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..core import config
from ..core.errors import ConfigError
from ..core.spec import Spec
from ..nn.dims import Dims

ROPE, RMS, SWIGLU, PRE, CAUSAL = (Spec(name) for name in ("rope", "rms", "swiglu", "pre", "causal"))
SDPA, REFERENCE = Spec("sdpa"), Spec("reference")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An architecture.  ``family`` says whose published layout its checkpoints are written in.

    ``masks`` has one mask, or one a layer, or fewer, which are then repeated. ``bias`` is that of the q, k and v
    projections, ``out_bias`` that of attention's output; the feed-forward's is a setting of ``ffn``. ``head_norm``
    normalizes queries and keys. ``kernels`` are asked in this order. ``std`` is that of newborn weights.
    """

    dims: Dims
    family: str = "decoder"
    position: Spec = ROPE
    norm: Spec = RMS
    ffn: Spec = SWIGLU
    wiring: Spec = PRE
    masks: tuple[Spec, ...] = (CAUSAL,)
    head_norm: Spec | None = None
    bias: bool = False
    out_bias: bool = False
    tied: bool = True
    dropout: float = 0.0
    std: float = 0.02
    kernels: tuple[Spec, ...] = (SDPA, REFERENCE)

    def __post_init__(self) -> None:
        if not self.masks or not self.kernels:
            raise ConfigError("a model needs at least one mask and one kernel, for example masks: [causal]")
        if len(self.masks) > self.dims.layers:
            raise ConfigError(f"{len(self.masks)} masks are more than the model's {self.dims.layers} layers")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must lie in [0, 1), found {self.dropout}")

    def mask(self, layer: int) -> Spec:
        """The mask of one layer."""
        return self.masks[layer % len(self.masks)]

    def write(self) -> dict[str, Any]:
        """Plain values: ``Recipe.read(recipe.write()) == recipe``."""
        return config.write(self)

    @classmethod
    def read(cls, raw: dict[str, Any], where: str = "recipe") -> Recipe:
        """From what ``write`` answered; raises ConfigError naming the first key that does not fit."""
        return config.read(cls, raw, where)
