"""Floating-point operations: the rule 6·N·D, and the exact count of the matrix products of a decoder."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import ConfigError

SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Operations:
    """FLOPs of the matrix products of one forward pass, two a multiply-add; norms, rotations, softmax do not count.

    ``linear``: projections of attention and FFN; ``scores``: q·k and weights·v; ``head``: hidden to logits.
    """

    linear: int
    scores: int
    head: int

    @property
    def forward(self) -> int:
        return self.linear + self.scores + self.head

    def training(self, *, recompute: bool = False, frozen: bool = False) -> int:
        """Forward, and gradients for the input and the weight of each product: 3 ×; recomputed blocks: 4 ×.

        Frozen weights need no gradient of their own, which saves a third of the products but none of the scores.
        """
        return (3 + recompute - frozen) * self.linear + (3 + recompute) * self.scores + (3 - frozen) * self.head

    def times(self, rows: float) -> Operations:
        return Operations(*(round(rows * part) for part in (self.linear, self.scores, self.head)))


def operations(
    *, block_weights: int, head_weights: int, layers: int, heads: int, head: int,
    length: int, past: int = 0, window: int | None = None, causal: bool = True,
) -> Operations:  # fmt: skip
    """One row of ``length`` new tokens after ``past`` cached ones.

    linear = 2 · length · (weights of the matrices of all blocks); head = 2 · length · (weights of the head);
    scores = 4 · layers · heads · head · pairs, where pairs counts (query, key) that may meet: for causal attention
    length·(length + 1)/2 + length·past, fewer in a window, and length·(length + past) if kernels compute the square.

    Source: Kaplan et al. 2020, arXiv:2001.08361, table 1; Narayanan et al. 2021, arXiv:2104.04473, §5.1.
    Truth:  tests/truth/test_plan_operations.py (torch's own FLOP counter over the real model; pairs by enumeration).
    """
    seen = pairs(length, past=past, window=window, causal=causal)
    return Operations(2 * length * block_weights, 4 * layers * heads * head * seen, 2 * length * head_weights)


def pairs(length: int, *, past: int = 0, window: int | None = None, causal: bool = True) -> int:
    """(query, key) pairs that may meet: query i of ``length`` sees the past, itself and those before it."""
    if not causal:
        return length * (length + past)
    whole = length * (length + 1) // 2 + length * past
    if window is None or window >= length + past:
        return whole
    full = max(0, min(length, window - past))  # queries that still see everything before them
    return full * (full + 1) // 2 + full * past + (length - full) * window


def training_flops(params: float, tokens: float, *, factor: float = 6) -> float:
    """C = 6·N·D: two FLOPs a parameter and token forward, four backward; 8 with full recomputation.

    Source: Kaplan et al. 2020, arXiv:2001.08361, §2.1; Brown et al. 2020, arXiv:2005.14165, table D.1.
    Truth:  tests/truth/test_plan_operations.py (GPT-3 3.14e23, Llama-3.1-405B 3.8e25).
    """
    return factor * params * tokens


def training_flops_a_token(
    params: float, *, layers: int, width: int, length: int, causal: bool = False, factor: float = 6
) -> float:
    """6·N + 12·L·d·s: the rule and the scores of attention, d = heads · head; a causal kernel does half of the latter.

    Source: Chowdhery et al. 2022, arXiv:2204.02311, appendix B; DeepSeek-AI 2025, arXiv:2505.09343, table 2 (causal).
    Truth:  tests/truth/test_plan_cases.py (MPT's utilizations; Llama-3.1-405B's 2,448 GFLOP).
    """
    return factor * (params + 2 * layers * width * length / (1 + causal))


def gpt_iteration_flops(
    *, layers: int, model: int, vocab: int, length: int, rows: int, recompute: bool = True
) -> float:
    """Of one step of a GPT with ffn = 4 · model: 96·B·s·l·h²·(1 + s/(6·h) + V/(16·l·h)), or 72·B·s·l·h²·(1 + s/(6·h) +
    V/(12·l·h)) without recomputation.

    Source: Narayanan et al. 2021, arXiv:2104.04473, eq. 3; Korthikanti et al. 2022, arXiv:2205.05198, eq. 7.
    Truth:  tests/truth/test_plan_cases.py (530B: 56 % of the peak; 145B and 1T in seconds).
    """
    share, last = (96, 16) if recompute else (72, 12)
    inner = 1 + length / (6 * model) + vocab / (last * layers * model)
    return share * rows * length * layers * model**2 * inner


def pf_days(flops: float) -> float:
    """Days at 10^15 FLOP/s."""
    return flops / 1e15 / SECONDS_A_DAY


def device_hours(flops: float, *, rate: float, share: float) -> float:
    """Hours of one device with a peak of ``rate`` FLOP/s of which ``share`` (MFU) is reached.

    Source: the definition of MFU, Chowdhery et al. 2022, arXiv:2204.02311, appendix B.
    Truth:  tests/truth/test_plan_cases.py (hours of LLaMA, BLOOM, Pythia, SmolLM3, DeepSeek-V3).
    """
    if not 0 < share <= 1 or rate <= 0:
        raise ConfigError(f"hours: rate must be above 0 and share in (0, 1], found {rate} and {share}")
    return flops / (rate * share) / 3600


def utilization(flops: float, *, seconds: float, rate: float) -> float:
    """MFU: the share of the device's peak that useful arithmetic reached.

    Source: Chowdhery et al. 2022, arXiv:2204.02311, appendix B.
    Truth:  tests/truth/test_plan_operations.py (published MFUs of MPT, LLaMA and BLOOM from their hours).
    """
    return flops / (seconds * rate)
