"""The sizes that every part of one model shares."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Dims:
    """Sizes in tokens and channels; 0 is filled in: kv_heads = heads, head = model / heads, ffn = 4 · model.

    Raises: ConfigError if a size is below 1 or heads and widths do not divide.
    """

    vocab: int
    model: int
    heads: int
    layers: int
    context: int
    kv_heads: int = 0
    head: int = 0
    ffn: int = 0

    def __post_init__(self) -> None:
        for name in ("vocab", "model", "heads", "layers", "context"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, found {getattr(self, name)}")
        if not self.head and self.model % self.heads:
            raise ConfigError(f"model ({self.model}) must be a multiple of heads ({self.heads}), or head must be given")
        object.__setattr__(self, "kv_heads", self.kv_heads or self.heads)
        object.__setattr__(self, "head", self.head or self.model // self.heads)
        object.__setattr__(self, "ffn", self.ffn or 4 * self.model)
        if self.kv_heads < 1 or self.heads % self.kv_heads:
            raise ConfigError(
                f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads}); choose one that divides it"
            )
