"""The objective of pretraining, continued pretraining and instruction tuning."""

from __future__ import annotations

from ..core.batch import Batch
from ..nn.layout import Layout
from ..nn.model import Model
from . import OBJECTIVES, Loss, Objective
from .tokens import token_loss


@OBJECTIVES.add("next_token")
class NextToken(Objective):
    """Predicts each next token of a document: pretraining and tuning differ in the weights the data gives, not here.

    loss = Σ w_t · -log p(x_{t+1} | x_≤t) / Σ w_t, in nats, over the tokens of the batch whose weight w is above 0.

    Reads Batch. Positions of weight 0 never meet the head, so a tuning step pays for the logits of answers only.
    Raises: ConfigError for a model whose tokens hear those after them.
    Source: Radford et al. 2018, "Improving language understanding by generative pre-training", eq. 1.
    Truth:  tests/truth/test_next_token.py (a hand-worked model of three tokens; weights 0 equal rows cut out).
    """

    reads = Batch
    codes_text = True

    def loss(self, model: Model, batch: Batch) -> Loss:
        model.expect_next()
        layout = Layout.of(batch.position, batch.segment)
        hidden = model.hidden(batch.tokens, layout)
        return token_loss(model, hidden, batch, layout, self.chunk)
