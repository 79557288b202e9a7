"""What a step of a recurrent model holds."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.forms.recurrent import RecurrentRecipe
from .step import Step
from .work import Memory


@dataclass(frozen=True)
class Cell:
    """In vectors a token: what torch's recurrence keeps, and what passes on its way back; states a layer, gates."""

    kept: float
    passing: float
    states: int
    gates: int


# Read off torch's allocator (version 2.13, on the CPU) over widths, lengths and documents: its loop over tokens keeps
# the gates before and after their activations, states, and a piece of each for every token.
CELLS = {"lstm": Cell(16.2, 8, 2, 4), "rnn": Cell(2, 1, 1, 1)}
UNKNOWN_CELL = CELLS["lstm"]


class RecurrentStep(Step):
    """Layers keep every step of their recurrence; packed documents are gathered and scattered, a copy a layer.

    kept = d·(1 + layers·cell) + d·(layers - 1) if packed + d·(layers + 1) under dropout; recomputed: d·(1 + layers).
    Passing on the way back: the cell's, and twice the weights of the gates.
    Source: measured, as said above; the rest derived from src/danlu (models/forms/recurrent.py, nn/states.py).
    Truth:  tests/parity/test_plan_forms.py (torch's allocator watched during steps of the Trainer).
    """

    recipe: RecurrentRecipe

    @property
    def cell(self) -> Cell:
        return CELLS.get(self.recipe.cell.use, UNKNOWN_CELL)

    def memory(self) -> Memory:
        """As ``footprint.memory``; whichever layer is on its way back, the last and the first are the dearest."""
        last = self._last_gradients(tied=self.recipe.tied)
        backward = max((*map(self._backward, {self.dims.layers, 1}), last), key=lambda kinds: sum(kinds.values()))
        kept = {"activations": round(self._vectors(self.dims.layers) * self.vectors)}
        return Memory({
            "load": {"weights": self.weights},
            "loss": self._held() | kept | self._copies() | self._loss(),
            "backward": backward,
            "step": self._held() | {"gradients": self.weights},
        })  # fmt: skip

    def kept(self) -> float:
        return self._vectors(self.dims.layers) * self.vectors

    def served(self, bytes_each: float) -> int:
        return round(self.cell.states * self.dims.layers * self.dims.model * self.work.rows * bytes_each)

    @property
    def laid_out(self) -> int:
        return self.sizes.head_weights

    @property
    def wide(self) -> int:
        return self.cell.gates

    def _vectors(self, layers: int) -> float:
        """Vectors a token that ``layers`` layers keep."""
        each = 1.0 if self.work.recompute else self.cell.kept
        return 1 + layers * each + (layers - 1) * self.work.documents + (layers + 1) * (self.recipe.dropout > 0)

    def _copies(self) -> dict[str, int]:
        """Only the head multiplies in half precision."""
        return {"weight copies": 2 * self.sizes.head_weights * self.widths.autocast}

    def _backward(self, layer: int) -> dict[str, int]:
        """Inside layer number ``layer`` counted from below, when those above are behind."""
        behind = self._summed() or (self.dims.layers - layer) * self.block_weights
        inside = self.cell.passing + (self.cell.kept if self.work.recompute else 0)
        gates = 2 * 4 * self.cell.gates * self.dims.model**2
        return self._held() | {
            "activations": round(self._vectors(layer) * self.vectors),
            "gradients": behind + self.head,
            "temporary": round((1 + inside) * self.vectors) + gates,
        }
