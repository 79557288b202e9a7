"""The plain recurrent network."""

from __future__ import annotations

from torch import nn

from . import CELLS, Cell, Sequences, State


@CELLS.add("rnn")
class Rnn(Cell, nn.RNN):
    """One vector is all that is known of the past, made anew with each token: gradients fade with distance.

    h ← tanh(W x + U h + b)
    Source: Elman 1990, Cognitive Science 14(2); Mikolov et al. 2010, INTERSPEECH, §2 (as a language model).
    Truth:  tests/truth/test_cells.py (torch.nn.RNN with copied weights; the formula in float64).
    """

    states = 1

    def run(self, x: Sequences, state: State | None) -> tuple[Sequences, State]:
        y, last = nn.RNN.forward(self, x, None if state is None else state[0])  # type: ignore[arg-type]
        return y, (last,)
