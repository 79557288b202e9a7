"""Recurrent language models: the baseline before attention, on the same ports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.errors import ConfigError
from ...core.spec import Spec
from ...nn.again import again
from ...nn.caches import Kept
from ...nn.cells import CELLS
from ...nn.heads import HEADS
from ...nn.layout import Layout
from ...nn.linear import Embedding
from ...nn.model import Model, Part
from ...nn.states import States, through
from ..notes import Notes
from ..recipe import LINEAR, Architecture
from . import MODELS

LSTM = Spec("lstm")


@dataclass(frozen=True, kw_only=True)
class RecurrentRecipe(Architecture):
    """``dims.layers`` layers of one cell, ``dims.model`` wide; heads and the feed-forward's width are not used.

    ``dropout`` falls on what goes into each layer and into the head, never on states from token to token.
    """

    form: ClassVar[str] = "recurrent"
    family: str = "recurrent"
    cell: Spec = LSTM
    tied: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must lie in [0, 1), found {self.dropout}")


@MODELS.add("recurrent")
class Recurrent(Model):
    """Reads token by token into states of fixed size; each document of a row begins with states of zero.

    h_t^0 = E[x_t];  h_t^l = cell^l(h_t^(l-1), state_(t-1)^l);  logits = W h_t^L
    Raises: ConfigError if the cell does not exist.
    Source: Zaremba et al. 2014, arXiv:1409.2329, §3 (layers and where dropout falls); Mikolov et al. 2010.
    Truth:  tests/truth/test_recurrent.py (torch.nn.LSTM and nn.RNN with copied weights).
    """

    reads: ClassVar[type[RecurrentRecipe]] = RecurrentRecipe

    def __init__(self, recipe: RecurrentRecipe) -> None:
        super().__init__()
        dims = recipe.dims
        self.recipe, self.dims, self.notes = recipe, dims, Notes()
        self.embed = Embedding(dims.vocab, dims.model, axes=("vocab", "model"))
        self.cells = nn.ModuleList([recipe.cell.build(CELLS, dims, where="cell") for _ in range(dims.layers)])
        self.head = LINEAR.build(HEADS, dims, dims.model, where="head")
        self._tie()

    def _tie(self) -> None:
        if self.recipe.tied:
            self.head.weight = self.embed.weight

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._tie()
        return self

    def hidden(self, tokens: Tensor, layout: Layout | None = None) -> Tensor:
        layout = layout or Layout.dense(tokens)
        kept = layout.cache
        assert kept is None or isinstance(kept, States), "a recurrent model keeps states: take them from model.cache"
        x = self._dropped(self.embedded(tokens))
        for number, cell in enumerate(self.cells):
            before = kept.layers[number] if kept else None
            if self.recomputes and torch.is_grad_enabled() and kept is None:
                x = again(_states, cell, x, layout)
            else:
                x, after = through(cell, x, layout, before)  # type: ignore[arg-type]
                if kept:
                    kept.layers[number] = after
            x = self._dropped(x)
        if kept:
            kept.read(tokens.shape[1])
        return x

    @property
    def remembers_keys(self) -> bool:
        return False

    def cache(self, kind: Part, rows: int, capacity: int, dtype: torch.dtype, device: torch.device) -> Kept:
        """States, whatever the kind: there are no keys to store."""
        return States(self.dims.layers, rows)

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.recipe.dropout, self.training)


def _states(cell: Any, x: Tensor, layout: Layout) -> Tensor:
    return through(cell, x, layout, None)[0]
