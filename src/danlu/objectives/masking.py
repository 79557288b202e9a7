"""Tokens taken away to be told again: which, and what stands in their place."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.batch import IGNORE
from ..core.errors import ConfigError
from .vocabulary import Vocabulary

Masked = tuple[Tensor, Tensor, Tensor]


class Masking:
    """Chooses ``share`` of the tokens of each row and hides them: ``mask`` of them behind the mask token, ``random`` of
    them behind a random token of text, the others not at all.

    chosen in a row of n tokens = max(1, round(share · n)), drawn without replacement; special tokens never.
    Raises: ConfigError if the shares are no shares, or the tokenizer has no mask token.
    """

    def __init__(self, vocabulary: Vocabulary, who: str, *, share: float, mask: float, random: float) -> None:
        if not (0 < share <= 1 and mask >= 0 and random >= 0 and mask + random <= 1):
            raise ConfigError(
                f"the objective {who} needs 0 < share ≤ 1 and mask + random ≤ 1, none below 0; found share {share}, "
                f"mask {mask}, random {random}; as in BERT: 0.15, 0.8, 0.1"
            )
        self.share, self.mask, self.random = share, mask, random
        self.vocabulary, self.token = vocabulary, vocabulary.need("mask", who)
        self.ordinary = vocabulary.ordinary()

    def __call__(self, tokens: Tensor, weight: Tensor) -> Masked:
        """What is shown, what must be told (IGNORE where nothing), and how much that counts.  (B, T) each.

        weight: how much telling each token counts; 0 where it may not be chosen.
        """
        key, kind, other = torch.rand(*tokens.shape, 3).unbind(-1)  # one draw: cutting the rows changes nothing
        free = (weight > 0) & ~self.vocabulary.among_special(tokens)
        count = free.sum(1, keepdim=True)
        count = (count * self.share).round().clamp(min=1).minimum(count)
        chosen = key.masked_fill(~free, 2.0).argsort(1).argsort(1) < count
        hidden = chosen & (kind < self.mask)
        replaced = chosen & ~hidden & (kind < self.mask + self.random)
        random = self.ordinary[(other * len(self.ordinary)).long()]
        shown = torch.where(hidden, self.token, torch.where(replaced, random, tokens))
        return shown, tokens.masked_fill(~chosen, IGNORE), weight * chosen
