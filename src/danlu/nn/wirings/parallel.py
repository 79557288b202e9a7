"""All sublayers of a block side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from ..layout import Layout
from ..linear import product_dtype
from ..remade import remade
from . import WIRINGS, Wiring


@WIRINGS.add("parallel")
class Parallel(Wiring):
    """Every sublayer of a block reads the same residual stream, and all of their answers are added at once.

    x ← x + Σ_f f(norm(x)), with one norm for all (GPT-J, PaLM) or, not ``shared``, one for each (GPT-NeoX);
    a final norm closes the stack
    Source: Wang, Komatsuzaki 2021 (GPT-J-6B); Chowdhery et al. 2022, arXiv:2204.02311, §2; Black et al. 2022,
    arXiv:2204.06745, §2.1 (two norms).
    Truth:  tests/truth/test_block_wirings.py (the sum by hand on sublayers of one number).
    """

    final_norm = True

    def __init__(
        self,
        sublayers: Mapping[str, nn.Module],
        norm: Callable[[], nn.Module],
        dropout: float = 0.0,
        layers: int = 1,
        *,
        shared: bool = True,
    ) -> None:
        super().__init__(sublayers, norm, dropout, layers)
        if shared:
            first = next(iter(sublayers))
            self.norms = nn.ModuleDict({first: self.norms[first]})

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        out, readers = x, list(self.sublayers)
        for name, norm in self.norms.items():
            normed = norm(x).to(product_dtype(x))
            with remade(normed, norm, x):
                for reader in readers if len(self.norms) == 1 else [name]:
                    out = out + self.run(reader, normed, layout)
        return out
