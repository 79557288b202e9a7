"""Cells of recurrent layers: what a state becomes with each token."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, TypeVar

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from ...core.registry import Registry
from ..dims import Dims
from ..linear import Birth

State = tuple[Tensor, ...]
"""What a layer knows of what it read: (1, B, M) each."""
Sequences = TypeVar("Sequences", Tensor, PackedSequence)


class Cell(nn.RNNBase, ABC):
    """One layer over whole sequences, in one fused call of torch.  M channels in and out.

    Weights are torch's: of the input, of the state, and a bias of each, gate under gate.
    """

    weight_ih_l0: nn.Parameter
    weight_hh_l0: nn.Parameter
    bias_ih_l0: nn.Parameter
    bias_hh_l0: nn.Parameter
    states: ClassVar[int]
    """How many vectors the state of a token has."""

    def __init__(self, dims: Dims) -> None:
        super().__init__(dims.model, dims.model, batch_first=True)  # type: ignore[call-arg]  (torch's class says its mode)

    @abstractmethod
    def run(self, x: Sequences, state: State | None) -> tuple[Sequences, State]:
        """What a cell shows after each token, and its state after the last; ``state`` comes before the first.

        x: (B, T, M) or such rows packed; a state of None is one of zeros.
        """

    def reset_parameters(self) -> None:
        """Weights are drawn by ``born`` or read from a file; until then they are zero."""
        for weight in self.parameters():
            nn.init.zeros_(weight)

    def born(self, birth: Birth) -> None:
        """Uniform within 1 / sqrt(M): a state then neither dies nor grows at once, which ``birth.std`` would not do."""
        bound = self.hidden_size**-0.5
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound, generator=birth.generator)

    def begin(self, rows: int, like: Tensor) -> State:
        """The state before the first token."""
        return tuple(like.new_zeros(1, rows, self.hidden_size) for _ in range(self.states))


CELLS: Registry[type[Cell]] = Registry("cell", Cell, __name__)
