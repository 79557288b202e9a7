"""Masked language modeling."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..core.batch import Batch
from ..nn.layout import Layout
from ..nn.model import Model
from . import OBJECTIVES, Loss, Objective
from .masking import Masking
from .tokens import token_loss
from .vocabulary import Vocabulary


@OBJECTIVES.add("masked")
class Masked(Objective):
    """Tells hidden tokens from what stands before and after them; what is hidden is drawn anew each time.

    loss = Σ w_t · -log p(x_t | corrupted x) / Σ w_t, in nats, over the chosen tokens: ``share`` of each row, of which
    ``mask`` are replaced by the mask token, ``random`` by a random one, and the others stay.

    Reads Batch; w of a token is the weight the data gives to predicting it. For models whose mask is full.
    Raises: ConfigError if the model reads in one direction, the shares are no shares, or the tokenizer has no mask.
    Source: Devlin et al. 2019, arXiv:1810.04805, §3.1; Liu et al. 2019, arXiv:1907.11692, §4.1 (drawn each time).
    Truth:  tests/truth/test_masked.py (shares counted; the loss of a model worked by hand; a full model learns).
    """

    reads = Batch

    def __init__(
        self,
        chunk: int = 1024,
        vocabulary: Vocabulary | None = None,
        *,
        share: float = 0.15,
        mask: float = 0.8,
        random: float = 0.1,
    ) -> None:
        super().__init__(chunk, vocabulary)
        self.masking = Masking(self.vocabulary, "masked", share=share, mask=mask, random=random)

    def check(self, model: Model) -> None:
        model.expect_hidden()

    def sample(self, record: Batch, step: int = 0) -> Batch:
        tokens, targets, weight = self.masking(record.tokens, told(record))
        return replace(record, tokens=tokens, targets=targets, weight=weight)

    def loss(self, model: Model, batch: Batch) -> Loss:
        layout = Layout.of(batch.position, batch.segment)
        return token_loss(model, model.hidden(batch.tokens, layout), batch, layout, self.chunk)


def told(batch: Batch) -> Tensor:
    """How much telling each token of a batch counts: what predicting it does; a document's first like its second."""
    first = batch.position == 0
    return batch.weight.roll(1, 1).where(~first, batch.weight) * (batch.segment != 0)
