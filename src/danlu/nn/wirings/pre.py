"""Normalize before each sublayer."""

from __future__ import annotations

from torch import Tensor

from ..layout import Layout
from ..linear import product_dtype
from ..remade import remade
from . import WIRINGS, Wiring


@WIRINGS.add("pre")
class PreNorm(Wiring):
    """The residual stream runs through untouched; each sublayer reads a normalized copy and adds to it.

    x ← x + f(norm(x)), for each sublayer f in turn; a final norm closes the stack
    Source: Xiong et al. 2020, arXiv:2002.04745, §3.2; Radford et al. 2019 (GPT-2).
    Truth:  tests/truth/test_block_wirings.py (the recursion by hand on sublayers of one number).

    The normalized copies are made again in backward: the residual stream is kept anyway.
    """

    final_norm = True

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        for name, norm in self.norms.items():
            normed = norm(x).to(product_dtype(x))
            with remade(normed, norm, x):
                x = x + self.run(name, normed, layout)
        return x
