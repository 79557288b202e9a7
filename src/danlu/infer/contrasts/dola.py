"""What late layers say more than early ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.errors import ConfigError
from ..checked import number, whole
from . import CONTRASTS, Contrast, Voices, plausible

DEEP = 40  # blocks from which on only the first or last HALF are looked at
HALF = 20


@CONTRASTS.add("dola")
class Dola(Contrast):
    """How much likelier a token is to the last layer than to the early one that differs most, among what is plausible.

    score(v) = log p(v) - log q_j(v)  where p(v) ≥ share · max p, else -inf;  j = argmax_j D(p, q_j)
    D = ½ (KL(m ‖ p) + KL(m ‖ q_j)),  m = ½ (p + q_j);  p, q_j: (B, V), q_j = softmax(head(state under block j)).
    This D is what the authors' code and transformers 4 compute; the paper writes the Jensen-Shannon divergence, in
    which m stands at the right of ‖. ``layers``: "low" or "high" (every second one of that half), or their numbers, 0
    being what enters the first block. Where the head is tied to the embedding, low ones begin at 2. A repetition
    penalty of 1.2 goes well with it.
    Raises: ConfigError for layers that the model does not have, or a setting out of its range.
    Source: Chuang et al. 2024, arXiv:2309.03883, eq. 2-6.
    Truth:  tests/truth/test_contrasts.py (the formula in float64); tests/golden/test_searches.py (transformers 4.49).
    """

    def __init__(self, *, layers: str | Sequence[int] = "high", share: float = 0.1) -> None:
        self.share = number("contrast.share", share, 1e-9, 1)
        self.asked: Any = layers if layers in ("low", "high") else _numbers(layers)

    def layers(self, depth: int, *, tied: bool) -> tuple[int, ...]:
        if self.asked == "low":
            start = min(2, depth - 1) if tied else 0
            return tuple(range(start, HALF if depth > DEEP else depth // 2, 2)) or (start,)
        if self.asked == "high":
            return tuple(range(depth - HALF if depth > DEEP else depth // 2, depth, 2))
        if (last := max(self.asked)) >= depth:
            raise ConfigError(f"contrast.layers: there is no layer {last} under the last; they are 0 … {depth - 1}")
        return self.asked

    def __call__(self, voices: Voices) -> Tensor:
        strong = voices.logits.log_softmax(-1)  # (B, V)
        early = torch.stack([logits.float().log_softmax(-1) for logits in voices.early.values()])  # (L, B, V)
        mean = (strong.exp() + early.exp()) / 2
        apart = _divergence(mean, strong) + _divergence(mean, early)  # (L, B)
        chosen = early[apart.argmax(0), torch.arange(len(strong), device=strong.device)]  # (B, V)
        return plausible(strong - chosen, strong, math.log(self.share))


def _divergence(law: Tensor, logprobs: Tensor) -> Tensor:
    """Σ_v law · (log law - logprobs).  (L, B, V) → (L, B)."""
    return F.kl_div(logprobs.expand_as(law), law, reduction="none").sum(-1)


def _numbers(layers: Any) -> tuple[int, ...]:
    if not isinstance(layers, (list, tuple)) or not layers:
        raise ConfigError(f"contrast.layers {layers!r}: must be 'low', 'high' or a list of numbers of layers")
    return tuple(whole("contrast.layers", layer, 0) for layer in dict.fromkeys(layers))
