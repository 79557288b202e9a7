"""Sixteen bits a weight."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from ..nn.native.matrix import Matrix, dense, readable
from ..nn.storages import STORAGES, Storage
from .pieces import Pieced


class Half(Storage, ABC):
    """A storage in a floating-point type of half width. Checkpoints keep plain tensors, in the model's dtype."""

    name: ClassVar[str]
    dtype: ClassVar[torch.dtype]
    bits = 16.0

    def keep(self, weight: Tensor, bias: Tensor | None, axes: tuple[str, str]) -> Cast:
        return Cast(self, weight.to(self.dtype), bias, axes)


@STORAGES.add("bf16")
class Bf16(Half):
    """Keeps weights in bfloat16, whatever the model computes in.

    w ≈ w rounded to 8 bits of exponent and 7 of fraction
    Source: Kalamkar et al. 2019, arXiv:1905.12322.
    Truth:  tests/truth/test_storages.py (the rounding of the cast, and products with the rounded weight).
    """

    name = "bf16"
    dtype = torch.bfloat16


@STORAGES.add("fp16")
class Fp16(Half):
    """Keeps weights in IEEE half precision, whatever the model computes in; above 65,504 they overflow.

    w ≈ w rounded to 5 bits of exponent and 10 of fraction
    Source: Micikevicius et al. 2018, arXiv:1710.03740.
    Truth:  tests/truth/test_storages.py (the rounding of the cast, and products with the rounded weight).
    """

    name = "fp16"
    dtype = torch.float16


class Cast(Pieced):
    """weight: (out, in), of half width"""

    weight: Tensor

    def __init__(self, storage: Half, weight: Tensor, bias: Tensor | None, axes: tuple[str, str]) -> None:
        super().__init__(storage, (weight.shape[0], weight.shape[1]), bias, axes, None)
        self.kind = storage.name
        self.register_buffer("weight", weight)

    @property
    def name(self) -> str:
        return self.kind

    def pieces(self, dtype: torch.dtype, room: int) -> Iterator[tuple[int, Tensor]]:
        step = max(room // self.in_features, 1)
        for number, rows in enumerate(self.weight.split(step)):
            yield number * step, rows.to(dtype)

    @property
    def matrix(self) -> Matrix | None:
        return dense(self.weight) if readable(self.weight) else None

    def tensors(self) -> dict[str, Tensor]:
        return {"weight": self.weight}

    def rows(self) -> dict[str, Tensor]:
        return {"weight": self.weight}
