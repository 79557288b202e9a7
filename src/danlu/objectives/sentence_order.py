"""Sentence-order prediction, ALBERT's."""

from __future__ import annotations

import torch
from torch import Tensor

from . import OBJECTIVES
from .pairs import Pair, PairObjective, halves


@OBJECTIVES.add("sentence_order")
class SentenceOrder(PairObjective):
    """Tells hidden tokens of two halves of a document, and whether they stand in their order.

    loss = mean over chosen tokens of -log p(x_t | pair) + mean over pairs of -log p(label | pooled pair), in nats.
    Each document is cut in two at random; label 0: in order, label 1, every second time: swapped.

    Reads Batch; ``share``, ``mask`` and ``random`` as in masked. Needs a model with a pooler and 2 classes.
    Raises: ConfigError if the tokenizer lacks mask, cls or sep.
    Source: Lan et al. 2019, arXiv:1909.11942, §3.1 (inter-sentence coherence loss).
    Truth:  tests/truth/test_sentence_order.py (pairs taken apart again; both losses row by row);
    tests/parity/test_pair_losses.py (transformers' loss on the same samples).
    """

    def pair(self, documents: list[Tensor], number: int) -> Pair:
        first, second = halves(documents[number])
        return (first, second, 0) if torch.rand(()) < 0.5 else (second, first, 1)
