"""Keys and values as the model makes them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from . import PAGES
from .flat import Flat


@PAGES.add("plain")
class Plain(Flat):
    """One stretch of memory a layer, a token after the other.

    k, v: (layers, blocks · size, K, D);  bytes = 2 · layers · K · D · bytes of the dtype, a token
    Source: Kwon et al. 2023, arXiv:2309.06180, §4.1.
    Truth:  tests/truth/test_pages.py (a list of tokens in plain Python, blocks in any order).
    """

    def shapes(self) -> Mapping[str, tuple[int, torch.dtype]]:
        return {"k": (self.dims.head, self.dtype), "v": (self.dims.head, self.dtype)}

    @property
    def k(self) -> Tensor:
        """(layers, blocks · size, K, D)."""
        return self.tensors["k"]

    @property
    def v(self) -> Tensor:
        """(layers, blocks · size, K, D)."""
        return self.tensors["v"]

    def write(self, layer: int, places: Tensor, k: Tensor, v: Tensor) -> None:
        self.tensors["k"][layer].index_copy_(0, places, k.to(self.dtype))
        self.tensors["v"][layer].index_copy_(0, places, v.to(self.dtype))

    def read(self, layer: int, where: slice | Tensor) -> tuple[Tensor, Tensor]:
        return self.tensors["k"][layer][where], self.tensors["v"][layer][where]
