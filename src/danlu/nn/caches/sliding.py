"""A cache that forgets."""

from __future__ import annotations

import torch

from ...core.errors import ConfigError
from ..dims import Dims
from ..pages import Pages
from ..pages.plain import Plain
from . import CACHES
from .over_pages import BLOCK, OverPages


@CACHES.add("sliding")
class Sliding(OverPages):
    """Keeps the newest ``window`` tokens: all that a model with windows as large looks at, however long the text is.

    bytes = 2 · layers · B · (⌈window / 16⌉ + 1) · 16 · K · D · bytes of the dtype
    Raises: ConfigError if window is below 1, or if a row is taken back to a token whose past was forgotten.
    Source: Jiang et al. 2023, arXiv:2310.06825, §2 (rolling buffer cache); Beltagy et al. 2020, arXiv:2004.05150, §3.1.
    Truth:  tests/truth/test_kv_caches.py (a list of rows in plain Python, cut to its end; Mistral's logits).
    """

    def __init__(
        self, dims: Dims, rows: int, capacity: int, dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu", *, window: int,
    ) -> None:  # fmt: skip
        if window < 1:
            raise ConfigError(f"a window has a token at least, found {window}")
        super().__init__(dims, rows, capacity, dtype, device, kept=window)

    def made(self, blocks: int) -> Pages:
        return Plain(self.dims, blocks, BLOCK, self.dtype, self.device)
