"""What a model is made of, as values: the architecture that a checkpoint keeps and every family fills."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from ..core import config
from ..core.errors import ConfigError
from ..core.spec import Spec
from ..nn.dims import Dims

ROPE, RMS, SWIGLU, PRE, CAUSAL, LINEAR = (Spec(name) for name in ("rope", "rms", "swiglu", "pre", "causal", "linear"))
SDPA, REFERENCE = Spec("sdpa"), Spec("reference")


@dataclass(frozen=True, kw_only=True)
class Architecture(ABC):
    """What the recipes of all forms of models have.  ``family`` says whose published layout checkpoints are written in.

    ``form`` names the class of models that is built from it; ``std`` is that of newborn weights.
    """

    form: ClassVar[str]
    dims: Dims
    family: str = "decoder"
    std: float = 0.02

    def spoken(self, vocab: int) -> Self:
        """The same architecture with another vocabulary."""
        return replace(self, dims=replace(self.dims, vocab=vocab))

    def write(self) -> dict[str, Any]:
        """Plain values: ``Recipe.read(recipe.write()) == recipe``."""
        return {"form": self.form, **config.write(self)}

    @classmethod
    def read(cls, raw: dict[str, Any], where: str = "recipe") -> Self:
        """From what ``write`` answered; raises ConfigError naming the first key that does not fit."""
        return config.read(cls, {key: value for key, value in raw.items() if key != "form"}, where)


@dataclass(frozen=True, kw_only=True)
class Recipe(Architecture):
    """A stack of blocks.

    ``masks`` has one mask, or one a layer, or fewer, which are then repeated. ``bias`` is that of the q, k and v
    projections, ``out_bias`` that of attention's output; the feed-forward's is a setting of ``ffn``. ``head_norm``
    normalizes queries and keys. ``kernels`` are asked in this order.

    embedding: ``embed`` is the width of token vectors if it is not the model's, ``embed_scale`` multiplies them,
    ``token_types`` kinds of tokens have vectors of their own, ``embed_norm`` normalizes the sum.
    blocks: ``distinct`` of them have weights of their own, which the others share in groups (0: all);
    ``score_scale`` multiplies q · k, 1 / sqrt(head) unless given; ``cross`` looks at what an encoder read.
    ends: ``hidden_scale`` multiplies what leaves the stack; ``pooler`` makes a vector a document, and ``classes`` are
    scored from it; without a ``head`` no token is scored.
    """

    form: ClassVar[str] = "stack"
    position: Spec = ROPE
    norm: Spec = RMS
    ffn: Spec = SWIGLU
    wiring: Spec = PRE
    masks: tuple[Spec, ...] = (CAUSAL,)
    head: Spec | None = LINEAR
    head_norm: Spec | None = None
    bias: bool = False
    out_bias: bool = False
    tied: bool = True
    dropout: float = 0.0
    kernels: tuple[Spec, ...] = (SDPA, REFERENCE)
    embed: int = 0
    embed_scale: float = 1.0
    embed_norm: Spec | None = None
    token_types: int = 0
    distinct: int = 0
    score_scale: float | None = None
    cross: bool = False
    hidden_scale: float = 1.0
    pooler: Spec | None = None
    classes: int = 0

    def __post_init__(self) -> None:
        if not self.masks or not self.kernels:
            raise ConfigError("a model needs at least one mask and one kernel, for example masks: [causal]")
        if len(self.masks) > self.dims.layers:
            raise ConfigError(f"{len(self.masks)} masks are more than the model's {self.dims.layers} layers")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must lie in [0, 1), found {self.dropout}")
        if not 0 <= self.distinct <= self.dims.layers:
            raise ConfigError(f"distinct ({self.distinct}) must lie within 0 … layers ({self.dims.layers})")
        if self.classes and not self.pooler:
            raise ConfigError("classes are scored from a pooled vector; name a pooler, for example pooler: first")

    def mask(self, layer: int) -> Spec:
        """The mask of one layer."""
        return self.masks[layer % len(self.masks)]

    def twin(self, layer: int) -> int:
        """The first layer with the same weights as this one: itself unless layers share."""
        groups = self.distinct or self.dims.layers
        return -(-(layer * groups // self.dims.layers) * self.dims.layers // groups)
