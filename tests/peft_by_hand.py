"""A stack's blocks written out, for the tests of adapters that act on what sublayers answer; and numbers to show errors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from danlu.nn.layout import Layout
from danlu.nn.model import Model
from danlu.peft.attached import state_of

TOKENS = torch.randint(0, 40, (2, 9), generator=torch.Generator().manual_seed(1))
Change = Callable[[str, Tensor, Tensor], Tensor]


def by_hand(stack: Model, x: Tensor, layout: Layout, change: Change) -> Tensor:
    """A stack with normalization before: x ← x + change(f(norm(x))), then the final norm."""
    for number, block in enumerate(stack.blocks):
        for name, norm in block.norms.items():
            read = norm(x)
            x = x + change(f"blocks.{number}.{name}", read, block.sublayers[name](read, layout))
    return stack.norm(x)


def drawn(model: Model, name: str) -> None:
    """Numbers that show errors, for every tensor of an adapter."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tensor in filter(torch.is_floating_point, state_of(model, name).values()):
            tensor.copy_(torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype) * 0.3)
