"""Normalize before and after each sublayer."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from ..layout import Layout
from ..linear import product_dtype
from ..remade import remade
from . import WIRINGS, Wiring


@WIRINGS.add("sandwich")
class Sandwich(Wiring):
    """Each sublayer reads a normalized copy of the stream, and what it answers is normalized before it is added.

    x ← x + norm_out(f(norm_in(x))), for each sublayer f in turn; a final norm closes the stack
    Source: Ding et al. 2021, arXiv:2105.13290, §2.3 (CogView); as in Gemma 2, arXiv:2408.00118, and GLM-4-0414.
    Truth:  tests/truth/test_block_wirings.py (the recursion by hand on sublayers of one number).
    """

    final_norm = True

    def __init__(
        self,
        sublayers: Mapping[str, nn.Module],
        norm: Callable[[], nn.Module],
        dropout: float = 0.0,
        layers: int = 1,
    ) -> None:
        super().__init__(sublayers, norm, dropout, layers)
        self.out_norms = nn.ModuleDict({name: norm() for name in sublayers})

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        for name, norm in self.norms.items():
            normed = norm(x).to(product_dtype(x))
            with remade(normed, norm, x):
                y = self.run(name, normed, layout)
            x = x + self.out_norms[name](y)
        return x
