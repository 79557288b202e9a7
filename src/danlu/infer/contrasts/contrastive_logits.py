"""A strong model's logits moved away from a weak one's."""

from __future__ import annotations

import math

from torch import Tensor

from ..checked import number
from . import CONTRASTS, Contrast, Voices, plausible


@CONTRASTS.add("contrastive_logits")
class ContrastiveLogits(Contrast):
    """Contrastive decoding with one strength that leaves the scale of logits as it is: 0 is the model alone.

    score(v) = (1 + strength) · s(v) - strength · w(v)  where s(v) ≥ max s + log share, else -inf
    s, w: logits (B, V) of the model and of a weak one.
    Raises: ShapeError if there is no weak model, or its vocabulary is another; ConfigError for a setting out of range.
    Source: O'Brien, Lewis 2023, arXiv:2309.09117, §2.
    Truth:  tests/truth/test_contrasts.py (the formula in float64; strength 0 is the model among what is plausible).
    """

    wants_weak = True

    def __init__(self, *, share: float = 0.1, strength: float = 0.5) -> None:
        self.share = number("contrast.share", share, 1e-9, 1)
        self.strength = number("contrast.strength", strength, 0, 100)

    def __call__(self, voices: Voices) -> Tensor:
        score = (1 + self.strength) * voices.logits - self.strength * voices.weaker
        return plausible(score, voices.logits, math.log(self.share))
