"""Whether two models answer the same: how far their logits are apart, and what they would say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..nn.model import Model


@dataclass(frozen=True)
class Said:
    """What a model answers to a prompt: logits (T, V), and the tokens it goes on with when it takes the likeliest."""

    logits: Tensor
    tokens: list[int]

    def apart(self, other: Said) -> float:
        """The largest difference of logits."""
        return float((self.logits - other.logits).abs().max())


@torch.inference_mode()
def said(model: Model, prompt: Sequence[int], steps: int) -> Said:
    """The answer of a model to a prompt, read whole at each step: no cache and no layout has a part in it."""
    tokens = torch.tensor([list(prompt)], device=next(model.parameters()).device)
    logits = first = model(tokens)[0].float()
    chosen: list[int] = []
    while len(chosen) < min(steps, model.dims.context - len(prompt)):
        chosen.append(int(logits[-1].argmax()))
        tokens = torch.cat([tokens, tokens.new_tensor([chosen[-1:]])], 1)
        logits = model(tokens)[0].float()
    return Said(first, chosen)
