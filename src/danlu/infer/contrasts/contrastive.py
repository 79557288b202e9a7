"""What a strong model says more than a weak one."""

from __future__ import annotations

import math

from torch import Tensor

from ..checked import number
from . import CONTRASTS, Contrast, Voices, plausible


@CONTRASTS.add("contrastive")
class Contrastive(Contrast):
    """Contrastive decoding: how much likelier a token is to the model than to a weak one, among what is plausible.

    score(v) = log p(v) - strength · log q(v)  where p(v) ≥ share · max p, else -inf
    p = softmax(logits), q = softmax(weak / temperature).  (B, V) each.
    Raises: ShapeError if there is no weak model, or its vocabulary is another; ConfigError for a setting out of range.
    Source: Li et al. 2023, arXiv:2210.15097, eq. 2-4.
    Truth:  tests/truth/test_contrasts.py (the formula in float64; a law of four by hand).
    """

    wants_weak = True

    def __init__(self, *, share: float = 0.1, strength: float = 1.0, temperature: float = 0.5) -> None:
        self.share = number("contrast.share", share, 1e-9, 1)
        self.strength = number("contrast.strength", strength, 0, 100)
        self.temperature = number("contrast.temperature", temperature, 1e-2, 100)

    def __call__(self, voices: Voices) -> Tensor:
        strong = voices.logits.log_softmax(-1)
        weak = (voices.weaker / self.temperature).log_softmax(-1)
        return plausible(strong - self.strength * weak, strong, math.log(self.share))
