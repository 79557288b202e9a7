"""Recurrent language models: the baseline that attention is measured against."""

from __future__ import annotations

from typing import Any

import torch

from ...core.spec import Spec
from ...nn.dims import Dims
from ..forms.recurrent import LSTM, Recurrent, RecurrentRecipe
from ..published import Settings
from ..recipe import Architecture
from ..weights import Entry
from . import Published, family


def read(settings: Settings) -> Architecture:
    """config.json holds the whole recipe."""
    raw = settings.need("recipe", dict)
    return RecurrentRecipe.read(raw, settings.where)


def write(recipe: RecurrentRecipe) -> dict[str, Any]:
    return {"recipe": recipe.write()}


def names(recipe: RecurrentRecipe) -> list[Entry]:
    """Tensors carry the names that they have here."""
    with torch.device("meta"):
        return [Entry(name, (name,)) for name, _ in Recurrent(recipe).named_parameters()]


def sizes(*, vocab: int, model: int, layers: int, context: int) -> Dims:
    """``context`` bounds rows in training and answers; states themselves know no limit."""
    return Dims(vocab=vocab, model=model, layers=layers, context=context, heads=1, ffn=model)


@family("recurrent", Published("danlu-recurrent", "Recurrent", read, write, names), sizes)
def recurrent(
    dims: Dims, *, cell: Spec | str | dict = LSTM, tied: bool = True, dropout: float = 0.0
) -> RecurrentRecipe:
    """Layers of one kind of cell between a table of tokens and a head; nothing is kept of the past but their states.

    parameters = V·M + 8·L·(M² + M) for the LSTM, V·M + 2·L·(M² + M) for the plain network, the head tied
    Raises: ConfigError if the cell does not exist.
    Source: Zaremba et al. 2014, arXiv:1409.2329, §3; Mikolov et al. 2010, INTERSPEECH, §2.
    Truth:  tests/truth/test_recurrent.py (torch.nn.LSTM and nn.RNN with copied weights).
    """
    return RecurrentRecipe(dims=dims, cell=Spec.read(cell), tied=tied, dropout=dropout)
