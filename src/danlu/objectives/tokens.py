"""The loss of tokens predicted at places: what most objectives end in."""

from __future__ import annotations

from torch import Tensor

from ..core.batch import IGNORE, Batch
from ..nn.layout import Layout
from ..nn.model import Model
from . import Loss, with_aside
from .chunked import cross_entropy


def token_loss(model: Model, hidden: Tensor, batch: Batch, layout: Layout, chunk: int) -> Loss:
    """The sums of ``predicted``, with what parts of the model added aside.  hidden: (B, T, M)."""
    return with_aside(predicted(model, hidden, batch, chunk), layout)


def predicted(model: Model, hidden: Tensor, batch: Batch, chunk: int) -> Loss:
    """Σ weight · -log softmax(head(hidden))[targets] and Σ weight.  hidden: (B, T, M)."""
    hidden, targets, weight = supervised(hidden, batch)
    return Loss(cross_entropy(model.head, hidden, targets, weight, chunk), weight.sum())


def supervised(hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The positions that count, as (N, M), (N,), (N,); a view where all of them do.  hidden: (B, T, M)."""
    counted = (batch.weight > 0) & (batch.targets != IGNORE)
    index = counted.flatten().nonzero().squeeze(-1)
    flat = hidden.flatten(0, 1), batch.targets.flatten(), batch.weight.flatten()
    if len(index) == counted.numel():
        return flat
    return flat[0][index], flat[1][index], flat[2][index]
