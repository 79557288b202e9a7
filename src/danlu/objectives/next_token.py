"""The objective of pretraining, continued pretraining and instruction tuning."""

from __future__ import annotations

from torch import Tensor

from ..core.batch import IGNORE, Batch
from ..nn.layout import Layout
from ..nn.model import Model
from . import OBJECTIVES, Loss, Objective, with_aside
from .chunked import cross_entropy


@OBJECTIVES.add("next_token")
class NextToken(Objective):
    """Predicts each next token of a document: pretraining and tuning differ in the weights the data gives, not here.

    loss = Σ w_t · -log p(x_{t+1} | x_≤t) / Σ w_t, in nats, over the tokens of the batch whose weight w is above 0.

    Reads Batch. Positions of weight 0 never meet the head, so a tuning step pays for the logits of answers only.
    Source: Radford et al. 2018, "Improving language understanding by generative pre-training", eq. 1.
    Truth:  tests/truth/test_next_token.py (a hand-worked model of three tokens; weights 0 equal rows cut out).
    """

    reads = Batch

    def loss(self, model: Model, batch: Batch) -> Loss:
        layout = Layout.of(batch.position, batch.segment)
        hidden = model.hidden(batch.tokens, layout)
        hidden, targets, weight = supervised(hidden, batch)
        total = cross_entropy(model.head, hidden, targets, weight, self.chunk)
        return with_aside(Loss(total, weight.sum()), layout)


def supervised(hidden: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The positions that count, as (N, M), (N,), (N,); a view where all of them do.  hidden: (B, T, M)."""
    counted = (batch.weight > 0) & (batch.targets != IGNORE)
    index = counted.flatten().nonzero().squeeze(-1)
    flat = hidden.flatten(0, 1), batch.targets.flatten(), batch.weight.flatten()
    if len(index) == counted.numel():
        return flat
    return flat[0][index], flat[1][index], flat[2][index]
