"""Whole numbers that an attachment keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn


class Count(nn.Module):
    """A whole number that is saved with the attachment that has it, and stays on the host, where it is asked.

    The tensor is read only when someone else has written to it: a plan traces steps with tensors that hold nothing.
    """

    held: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("held", torch.zeros((), dtype=torch.int64, device="cpu"))
        self.put(0)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        return self

    @property
    def value(self) -> int:
        if self.held._version != self.seen:
            self.put(int(self.held))
        return self.known

    def put(self, value: int) -> None:
        self.held.fill_(value)
        self.known, self.seen = value, self.held._version
