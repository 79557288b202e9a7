"""Normalize after each sublayer, with a residual stream that weighs more the deeper the stack is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from ...core.errors import ConfigError
from ..layout import Layout
from ..linear import Birth
from . import WIRINGS, Wiring

CHOOSING = frozenset({"q", "k", "router"})
"""Maps that only choose where to look: their size does not set that of a sublayer's answer."""


@WIRINGS.add("deep")
class DeepNorm(Wiring):
    """Each sum of stream and sublayer is normalized; the stream counts α times and weights are born β times smaller.

    x ← norm(α x + f(x)), for each sublayer f in turn. A stack of L blocks of S sublayers has α = (S L)^¼ and
    β = (4 S L)^-¼: (2L)^¼ and (8L)^-¼ where it stands alone, (3L)^¼ and (12L)^-¼ where it also looks at an encoder.
    An encoder that a decoder of M blocks looks at (``decoder``: M) has α = 0.81 (L⁴ M)^(1/16) and
    β = 0.87 (L⁴ M)^(-1/16).
    Birth: matrices are normal with std = gain · sqrt(2 / (in + out)), gain 1 for q, k and routers, β for all others.
    Raises: ConfigError if ``decoder`` is negative.
    Source: Wang et al. 2022, arXiv:2203.00555, fig. 2 (pseudocode and table of constants).
    Truth:  tests/truth/test_block_wirings.py (the recursion by hand; the table's constants; deviations at birth).
    """

    final_norm = False

    def __init__(
        self,
        sublayers: Mapping[str, nn.Module],
        norm: Callable[[], nn.Module],
        dropout: float = 0.0,
        layers: int = 1,
        *,
        decoder: int = 0,
    ) -> None:
        super().__init__(sublayers, norm, dropout, layers)
        if decoder < 0:
            raise ConfigError(f"wiring deep: decoder is how many blocks look at this encoder, found {decoder}")
        whole = len(sublayers) * layers
        both = (layers**4 * decoder) ** (1 / 16)
        self.alpha = 0.81 * both if decoder else whole**0.25
        self.beta = 0.87 / both if decoder else (4 * whole) ** -0.25

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        for name, norm in self.norms.items():
            x = norm(self.alpha * x + self.run(name, x, layout))
        return x

    def born(self, birth: Birth) -> None:
        for name, parameter in self.sublayers.named_parameters():
            if parameter.ndim > 1:
                gain = 1.0 if CHOOSING.intersection(name.split(".")) else self.beta
                std = gain * math.sqrt(2 / sum(parameter.shape[-2:]))
                nn.init.normal_(parameter, std=std, generator=birth.generator)
