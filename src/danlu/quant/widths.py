"""Whole numbers of 8 and of 4 bits: how they lie in memory, and in the 32-bit words of compressed-tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import ShapeError
from ..nn import native


class Width(ABC):
    """Numbers from -2^(bits - 1) on, row after row."""

    bits: ClassVar[int]
    dtype: ClassVar[torch.dtype]
    """Of what is kept."""

    @property
    def least(self) -> int:
        return -(2 ** (self.bits - 1))

    def bytes_(self, count: int) -> int:
        """Of a row of so many numbers."""
        return (count * self.bits + 7) // 8

    @abstractmethod
    def pack(self, numbers: Tensor) -> Tensor:
        """int8 (R, in) → what is kept (R, bytes)."""

    @abstractmethod
    def unpack(self, kept: Tensor, count: int, dtype: torch.dtype) -> Tensor:
        """(R, bytes) → (R, count)."""

    @abstractmethod
    def words(self, kept: Tensor) -> Tensor:
        """int32 (R, ⌈bytes / 4⌉) of numbers raised by -least, the first in the lowest bits."""

    @abstractmethod
    def of_words(self, words: Tensor, count: int) -> Tensor:
        """What is kept of words (R, …) that hold so many numbers a row."""

    @abstractmethod
    def matrix(self, numbers: Tensor, scale: Tensor, zero: Tensor | None, reading: str) -> native.Matrix:
        """int8 (out, in), scales and zeros (out, groups) for native kernels; ShapeError for what they do not read."""


class Eight(Width):
    """A byte each, as int8."""

    bits, dtype = 8, torch.int8

    def pack(self, numbers: Tensor) -> Tensor:
        return numbers

    def unpack(self, kept: Tensor, count: int, dtype: torch.dtype) -> Tensor:
        return kept.to(dtype)

    def words(self, kept: Tensor) -> Tensor:
        return _words(kept.view(torch.uint8) ^ 0x80)

    def of_words(self, words: Tensor, count: int) -> Tensor:
        return (words.view(torch.uint8)[:, :count] ^ 0x80).view(torch.int8)

    def matrix(self, numbers: Tensor, scale: Tensor, zero: Tensor | None, reading: str) -> native.Matrix:
        if zero is not None:
            raise ShapeError("native kernels read numbers of 8 bits around zero; let torch multiply this weight")
        return native.int8(numbers, scale, reading=reading)


class Four(Width):
    """Two in a byte of uint8, raised by 8, the first in the lower half: as the words have them."""

    bits, dtype = 4, torch.uint8

    def pack(self, numbers: Tensor) -> Tensor:
        raised = (F.pad(numbers, (0, numbers.shape[1] % 2)) + 8).view(torch.uint8)
        return raised[:, ::2] | raised[:, 1::2] << 4

    def unpack(self, kept: Tensor, count: int, dtype: torch.dtype) -> Tensor:
        signed = (kept ^ 0x88).view(torch.int8)  # raised by 8 and of two's complement differ in the highest bit
        numbers = kept.new_empty((*kept.shape, 2), dtype=dtype)
        numbers[..., 0] = (signed << 4) >> 4
        numbers[..., 1] = signed >> 4
        return numbers.view(len(kept), -1)[:, :count]

    def words(self, kept: Tensor) -> Tensor:
        return _words(kept)

    def of_words(self, words: Tensor, count: int) -> Tensor:
        return words.view(torch.uint8)[:, : self.bytes_(count)]

    def matrix(self, numbers: Tensor, scale: Tensor, zero: Tensor | None, reading: str) -> native.Matrix:
        return native.int4(numbers, scale, None if zero is None else -scale.float() * zero, reading=reading)


def _words(raised: Tensor) -> Tensor:
    """uint8 (R, bytes) → int32 (R, ⌈bytes / 4⌉)."""
    padded = F.pad(raised, (0, -raised.shape[1] % 4))
    return padded.reshape(-1).view(torch.int32).view(len(raised), -1)


WIDTHS: dict[int, Width] = {8: Eight(), 4: Four()}
