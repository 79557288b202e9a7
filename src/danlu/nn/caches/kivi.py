"""A cache in two or four bits."""

from __future__ import annotations

import torch

from ..dims import Dims
from ..pages import Pages
from ..pages.kivi import Kivi as KiviPages
from . import CACHES
from .over_pages import BLOCK, OverPages


@CACHES.add("kivi")
class Kivi(OverPages):
    """Blocks of 16 old tokens in ``bits``: keys by channel, values by token; the ``whole`` newest tokens as they came.

    x̂ = least + q · step,  step = (most - least) / (2^bits - 1), one grid a group; a prompt is read as it came and
    rounded behind itself
    Raises: ConfigError if bits is not 2 or 4, or whole is negative.
    Source: Liu et al. 2024, arXiv:2402.02750, §3.2-3.3 and algorithm 1.
    Truth:  tests/truth/test_kivi_pages.py (the formula number by number), test_kv_caches.py.
    """

    exact = False

    def __init__(
        self, dims: Dims, rows: int, capacity: int, dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu", *, bits: int = 2, whole: int = 32,
    ) -> None:  # fmt: skip
        self.bits, self.whole = bits, whole
        super().__init__(dims, rows, capacity, dtype, device)

    def made(self, blocks: int) -> Pages:
        shapes = self.dims, blocks, BLOCK, self.dtype, self.device
        return KiviPages(*shapes, bits=self.bits, whole=self.whole)
