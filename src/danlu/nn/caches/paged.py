"""A cache in blocks."""

from __future__ import annotations

from ..pages import Pages
from ..pages.plain import Plain
from . import CACHES
from .over_pages import BLOCK, OverPages


@CACHES.add("paged")
class Paged(OverPages):
    """Keys and values as they came, in blocks of 16 tokens: the engine's pool for rows that grow together.

    bytes = 2 · layers · B · blocks · 16 · K · D · bytes of the dtype,  blocks = ⌈capacity / 16⌉
    Raises: ShapeError if more than ``capacity`` tokens are stored.
    Source: Kwon et al. 2023, arXiv:2309.06180, §4.1.
    Truth:  tests/truth/test_kv_caches.py (a list of rows in plain Python).
    """

    def made(self, blocks: int) -> Pages:
        return Plain(self.dims, blocks, BLOCK, self.dtype, self.device)
