"""A cache in 8 bits."""

from __future__ import annotations

from ..pages import Pages
from ..pages.int8 import Int8 as Int8Pages
from . import CACHES
from .over_pages import BLOCK, OverPages


@CACHES.add("int8")
class Int8(OverPages):
    """Earlier calls' keys and values in 8 bits, with a scale a token and head.

    x̂ = round(x / s) · s,  s = max|x| / 127;  bytes = 2 · layers · B · blocks · 16 · K · (D + 4)
    Raises: ShapeError if more than ``capacity`` tokens are stored.
    Source: Dettmers et al. 2022, arXiv:2208.07339, §2 (absolute maximum, one scale a vector).
    Truth:  tests/truth/test_pages.py (the formula token by token); tests/truth/test_kv_caches.py (rows of lists).
    """

    exact = False

    def made(self, blocks: int) -> Pages:
        return Int8Pages(self.dims, blocks, BLOCK, self.dtype, self.device)
