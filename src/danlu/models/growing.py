"""A larger vocabulary for a model that exists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from ..core.errors import ShapeError
from ..nn.heads import Head
from ..nn.model import Model


def grow(model: Model, pieces: Sequence[Sequence[int]]) -> None:
    """Adds a token for each of ``pieces``: its row is the mean of the rows of the old tokens listed there.

    Embedding and head grow alike and stay tied if they were; a token without pieces (padding) takes the mean of all.
    Raises: ShapeError if a piece is not in the old vocabulary, ConfigError if the model has two of them.
    """
    old = model.dims.vocab
    for piece in {i for ids in pieces for i in ids}:
        if not 0 <= piece < old:
            raise ShapeError(f"a new token is said to be made of the id {piece}, which is not below {old}")
    recipe = model.recipe.spoken(old + len(pieces))
    last = cast(Head, model.head).table
    tied = last.weight is model.embed.weight
    model.embed.weight = _grown(model.embed.weight, pieces)
    last.weight = model.embed.weight if tied else _grown(last.weight, pieces)
    if last.bias is not None:
        last.bias = _grown(last.bias, pieces)
    last.out_features = old + len(pieces)
    model.adopt(recipe)


def _grown(weight: Tensor, pieces: Sequence[Sequence[int]]) -> nn.Parameter:
    with torch.no_grad():
        rows = weight.float()
        new = [rows[list(ids)].mean(0) if ids else rows.mean(0) for ids in pieces]
        grown = torch.cat([weight, torch.stack(new).to(weight.dtype)]) if new else weight
    return nn.Parameter(grown, requires_grad=weight.requires_grad)
