"""Single places in the logits of a step, row by row: how often a token was said, which tokens are forbidden."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from .memories import Memories, Tally
from .rows import Row

Places = tuple[Tensor, Tensor]  # (N,) rows, (N,) tokens: what logits[places] reads


def counted(memories: Memories[Tally], rows: Sequence[Row], logits: Tensor) -> tuple[Places, Tensor]:
    """The places of all tokens of all rows' texts and how often each occurs (N,).

    Tokens that logits (B, V) do not have, as those a vocabulary of its own gives an encoder, are left out.
    """
    told = [memories.of(row).told() for row in rows]
    counts = np.concatenate([counts for _, counts in told])
    ids = np.concatenate([ids for ids, _ in told])
    numbers = np.repeat(np.arange(len(rows)), [len(ids) for ids, _ in told])
    known = ids < logits.shape[-1]
    return _places(numbers[known], ids[known], logits), torch.from_numpy(counts[known]).to(logits)


def without(logits: Tensor, banned: Iterable[Iterable[int]]) -> Tensor:
    """Logits (B, V) with -inf at the tokens of each row; what is beyond V is left out."""
    pairs = [(row, token) for row, tokens in enumerate(banned) for token in tokens if token < logits.shape[-1]]
    if not pairs:
        return logits
    rows, tokens = np.array(pairs).T
    return logits.index_put(_places(rows, tokens, logits), logits.new_tensor(float("-inf")))


def _places(rows: np.ndarray, tokens: np.ndarray, logits: Tensor) -> Places:
    return torch.from_numpy(rows).to(logits.device), torch.from_numpy(tokens).to(logits.device)
