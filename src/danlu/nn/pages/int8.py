"""Keys and values in 8 bits."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from . import PAGES
from .flat import Flat


@PAGES.add("int8")
class Int8(Flat):
    """Each vector of a token and head is rounded when it comes, with a scale of its own.

    q = round(x / s),  s = max|x| / 127,  x̂ = q · s;  s: (layers, blocks · size, K, 1), float32
    bytes = 2 · layers · K · (D + 4), a token
    Source: Dettmers et al. 2022, arXiv:2208.07339, §2 (absolute maximum, one scale a vector).
    Truth:  tests/truth/test_pages.py (the formula token by token in plain Python; no error above half a step).
    """

    def shapes(self) -> Mapping[str, tuple[int, torch.dtype]]:
        scale = (1, torch.float32)
        numbers = (self.dims.head, torch.int8)
        return {"k": numbers, "k_scale": scale, "v": numbers, "v_scale": scale}

    def write(self, layer: int, places: Tensor, k: Tensor, v: Tensor) -> None:
        for name, x in (("k", k.float()), ("v", v.float())):
            scale = x.abs().amax(-1, keepdim=True) / 127  # (N, K, 1)
            numbers = (x / scale.clamp(min=torch.finfo(torch.float32).tiny)).round_()
            self.tensors[name][layer].index_copy_(0, places, numbers.to(torch.int8))
            self.tensors[f"{name}_scale"][layer].index_copy_(0, places, scale)

    def read(self, layer: int, where: slice | Tensor) -> tuple[Tensor, Tensor]:
        return self._read("k", layer, where), self._read("v", layer, where)

    def _read(self, name: str, layer: int, where: slice | Tensor) -> Tensor:
        return (self.tensors[name][layer][where] * self.tensors[f"{name}_scale"][layer][where]).to(self.dtype)
