"""Next-sentence prediction, BERT's."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.errors import ConfigError
from . import OBJECTIVES
from .documents import below
from .pairs import Pair, PairObjective, halves


@OBJECTIVES.add("next_sentence")
class NextSentence(PairObjective):
    """Tells hidden tokens of two texts, and whether the second goes on where the first ends.

    loss = mean over chosen tokens of -log p(x_t | pair) + mean over pairs of -log p(label | pooled pair), in nats.
    Each document is cut in two at random; label 0: its own second half follows, label 1, every second time: that of
    another document of the batch.

    Reads Batch; ``share``, ``mask`` and ``random`` as in masked. Needs a model with a pooler and 2 classes.
    Raises: ConfigError if a batch to train on holds one document, or the tokenizer lacks mask, cls or sep.
    Source: Devlin et al. 2019, arXiv:1810.04805, §3.1 (task 2) and appendix A.2.
    Truth:  tests/truth/test_next_sentence.py (pairs taken apart again; both losses row by row);
    tests/parity/test_pair_losses.py (transformers' loss on the same samples).
    """

    def pair(self, documents: list[Tensor], number: int) -> Pair:
        first, second = halves(documents[number])
        if torch.rand(()) < 0.5:
            return first, second, 0
        if len(documents) == 1:
            if not self.training:
                return first, second, 0
            raise ConfigError(
                "the objective next_sentence takes second halves of other documents, and a batch holds only one; "
                "raise train.tokens, or lower data.pack.length"
            )
        other = below(len(documents) - 1)
        return first, halves(documents[other + (other >= number)])[1], 1
