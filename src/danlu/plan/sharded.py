"""Peak bytes a rank of a LLaMA-like model trained with fully sharded data parallelism, as a closed form."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import ConfigError, unknown
from .counts import Counted

HALF, FULL = 2, 4


@dataclass(frozen=True, kw_only=True)
class Sharded:
    """One rank's peak where the backward pass begins: states of its shard, gathered weights, what is kept, logits.

    states = 16·N / ranks;  gathered = w·N if weights stay gathered, else w·(two blocks + head);
    kept a token and layer, in numbers of w bytes: "none" 8·M + 4·F (norms read and written, q, k, v and what attention
    answered, gate, up, their product, the activation), "selective" 4·M + K·D + F (the block's input, attention's
    answer and every second product), "full" M, with the block at hand whole;
    logits = tokens·V·(2·4) and w·tokens·V besides where w is half; w is 4 in fp32, 2 under autocast.

    Source: Zhao et al. 2023, arXiv:2304.11277 (FSDP); the table of recomputation: torchtitan's operator lists.
    Truth:  tests/truth/test_plan_cases.py (Llama-3.1-8B on 8 ranks 82.4 GiB within 25 %; a traced model of 168M on 64
    ranks 1,530.7 MiB within 1 %; MPT-30B on 8 ranks fits into 80 GB).
    """

    counted: Counted
    hidden: int
    ffn: int
    layers: int
    vocab: int
    ranks: int
    tokens: int
    narrow: int = 0
    recompute: str = "none"
    precision: str = "bf16"
    reshard: bool = True

    def __post_init__(self) -> None:
        if min(self.hidden, self.ffn, self.layers, self.vocab, self.ranks, self.tokens) < 1:
            raise ConfigError("a sharded plan needs hidden, ffn, layers, vocab, ranks and tokens of at least 1")
        if self.recompute not in self._kept:
            raise unknown("mode of recomputation", self.recompute, list(self._kept))

    @property
    def width(self) -> int:
        """Bytes of a number in products."""
        return FULL if self.precision == "fp32" else HALF

    @property
    def _kept(self) -> dict[str, int]:
        whole = 8 * self.hidden + 4 * self.ffn
        chosen = 4 * self.hidden + (self.narrow or self.hidden) + self.ffn
        return {
            "none": self.layers * whole,
            "selective": self.layers * chosen,
            "full": self.layers * self.hidden + whole,
        }

    @property
    def bytes_(self) -> dict[str, float]:
        """By kind."""
        block = self.counted.linear / self.layers
        gathered = self.counted.total if not self.reshard else 2 * block + self.vocab * self.hidden
        halves = self.width if self.width == HALF else 0
        return {
            "states": 16 * self.counted.total / self.ranks,
            "gathered weights": self.width * gathered,
            "activations": self.width * self.tokens * self._kept[self.recompute],
            "logits": self.tokens * self.vocab * (2 * FULL + halves),
        }

    @property
    def peak_bytes(self) -> float:
        return sum(self.bytes_.values())
