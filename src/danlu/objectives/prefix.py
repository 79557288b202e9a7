"""Prefix language modeling."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..core.batch import Batch
from ..nn.layout import Layout, documents
from ..nn.model import Model
from . import OBJECTIVES, Loss, Objective
from .documents import below
from .tokens import token_loss


@dataclass(frozen=True)
class Prefixed(Batch):
    """Rows whose documents begin with tokens that all see each other.  order: (B, T), as masks compare it."""

    order: Tensor


@OBJECTIVES.add("prefix")
class Prefix(Objective):
    """Reads the beginning of each document in both directions, and predicts each token after it.

    loss = Σ_{t ≥ n} w_t · -log p(x_t | x_<n seen whole, x_n … x_{t-1}) / Σ w_t, in nats;  n uniform in 1 … T, drawn
    anew each time for each document of T predictions.

    Reads Batch. For models whose mask is causal: the prefix has the order of its last token.
    Source: Raffel et al. 2019, arXiv:1910.10683, §3.2.1 (prefix LM); Dong et al. 2019, arXiv:1905.03197, §2.2.
    Truth:  tests/truth/test_prefix.py (gradients show who saw whom; a prefix of one token is next-token prediction).
    """

    reads = Batch

    def sample(self, record: Batch, step: int = 0) -> Prefixed:
        order, weight = record.position.clone(), record.weight.clone()
        for row, start, stop in documents(record.position, record.segment) or ():
            size = 1 + below(stop - start)
            order[row, start : start + size] = size - 1
            weight[row, start : start + size - 1] = 0.0
        return Prefixed(**{**record.columns, "weight": weight}, order=order)

    def loss(self, model: Model, batch: Prefixed) -> Loss:
        layout = Layout.of(batch.position, batch.segment, order=batch.order)
        return token_loss(model, model.hidden(batch.tokens, layout), batch, layout, self.chunk)
