"""Long short-term memory."""

from __future__ import annotations

from torch import nn

from ..linear import Birth
from . import CELLS, Cell, Sequences, State


@CELLS.add("lstm")
class Lstm(Cell, nn.LSTM):
    """Keeps a memory c that gates fill, empty and show: what is kept is added, so gradients live long.

    i, f, o = σ(W x + U h + b);  g = tanh(W x + U h + b);  c ← f c + i g;  h ← o tanh(c)
    A newborn's forget gates are open (their bias is 1).
    Source: Hochreiter, Schmidhuber 1997, Neural Computation 9(8), §4; Gers et al. 2000 (forget gate);
    Jozefowicz et al. 2015, PMLR 37, §2.2 (its bias).
    Truth:  tests/truth/test_cells.py (torch.nn.LSTM with copied weights; the formula in float64).
    """

    states = 2

    def run(self, x: Sequences, state: State | None) -> tuple[Sequences, State]:
        return nn.LSTM.forward(self, x, state)  # type: ignore[arg-type]

    def born(self, birth: Birth) -> None:
        super().born(birth)
        forget = slice(self.hidden_size, 2 * self.hidden_size)
        nn.init.ones_(self.bias_ih_l0[forget])
        nn.init.zeros_(self.bias_hh_l0[forget])
