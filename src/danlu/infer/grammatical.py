"""The filter that keeps every row within its grammar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .rows import Row


def grammatical(logits: Tensor, rows: Sequence[Row]) -> Tensor:
    """-inf wherever the grammar of a row does not allow a token next; rows without one stay.  (B, V) → (B, V)."""
    matchers: list[Any] = [getattr(row, "matcher", None) for row in rows]
    if not any(matchers):
        return logits
    allowed = torch.ones_like(logits, dtype=torch.bool)
    for place, matcher in enumerate(matchers):
        if matcher is not None:
            allowed[place] = matcher.allowed().to(logits.device)
    return logits.masked_fill(~allowed, -torch.inf)
