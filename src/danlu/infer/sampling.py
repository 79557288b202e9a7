"""How to go on from a prompt: checked as a whole before any work is done."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import ConfigError
from ..core.spec import Spec
from ..tokenize import Tokenizer
from .decoders import DECODERS, Decoder
from .filters import chain

COLD = 1e-5  # below this a temperature is greedy: dividing by it would overflow


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """temperature 0 (or top_k 1) is greedy; else a token is drawn after temperature, top-k, top-p, in this order.

    ``seed`` is the row's (a list) or the first row's, the next rows taking the next numbers. ``stop`` are strings the
    text ends before; ``stop_ids`` are tokens it ends at (None: the tokenizer's own).
    """

    max_tokens: int = 64
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int | tuple[int, ...] = 0
    stop: str | tuple[str, ...] = ()
    stop_ids: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if "" in self.strings:
            raise ConfigError("stop '': must be a text of one character or more")
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens {self.max_tokens}: must be at least 1")
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature {self.temperature}: must be 0 (greedy) or above")
        chain(self._filters)

    @property
    def strings(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else self.stop

    @property
    def _filters(self) -> dict[str, float]:
        temperature = self.temperature if self.temperature > COLD else 1.0
        return {"temperature": temperature, "top_k": self.top_k, "top_p": self.top_p}

    @property
    def greedy(self) -> bool:
        return self.temperature <= COLD or self.top_k == 1

    def decoder(self) -> Decoder:
        return Spec("greedy" if self.greedy else "sample").build(DECODERS, chain(self._filters))

    def seeds(self, rows: int) -> list[int]:
        """One a row."""
        if isinstance(self.seed, int):
            return list(range(self.seed, self.seed + rows))
        if len(self.seed) != rows:
            raise ConfigError(f"{len(self.seed)} seeds for {rows} prompts; give one number, or one a prompt")
        return list(self.seed)

    def stops(self, tokenizer: Tokenizer, vocab: int) -> frozenset[int]:
        """The ids at which generation ends; raises ConfigError if one is no token of the model."""
        ids = frozenset(tokenizer.stops if self.stop_ids is None else self.stop_ids)
        if wrong := sorted(i for i in ids if not 0 <= i < vocab):
            raise ConfigError(f"stop id {wrong[0]} is no token of the model; its ids are 0 … {vocab - 1}")
        return ids
