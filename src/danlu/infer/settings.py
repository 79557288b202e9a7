"""How large an engine is."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from typing import Any

import torch

from ..core.errors import ConfigError
from ..core.spec import Spec
from ..nn.attention import Attends
from ..nn.model import Model
from ..nn.pages import PAGES, Pages

SHARE = 0.4  # of the memory that is free: what the cache may take unless it is told
GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """``rows`` side by side; ``budget`` tokens a step; keys in blocks of ``block`` tokens, kept as ``cache`` says.

    ``cache`` names one of ``nn.pages``: "plain", "int8", {"use": "kivi", "bits": 2}.
    ``cache_bytes`` is the most that keys may take (None: what ``rows`` of ``context`` tokens need, or a share of the
    memory that is free if that is less). ``context`` is the longest text (None: the model's). Without ``reuse`` nothing
    is kept of a prompt for the next request that begins alike. ``rounded`` lets the native step multiply weights of 8
    and 4 bits with numbers rounded to 8 bits in blocks of 32, as llama.cpp does: two to three times as fast, and about
    0.3 % off a product; weights that are whole are never rounded.
    """

    rows: int = 64
    budget: int = 512
    block: int = 16
    cache: str | dict[str, Any] = "plain"
    cache_bytes: int | None = None
    context: int | None = None
    reuse: bool = True
    rounded: bool = False

    def blocks(self, model: Model, *companions: Model) -> int:
        """How many blocks the pool has; warns if it holds less than one text of full length.

        Raises: ConfigError with the figure if it would hold less than a step's tokens.
        """
        long = -(-self.longest(model) // self.block)
        most = self.rows * (long + 1)
        whole, less = (sum(self.pages(one, n, "meta").bytes_ for one in (model, *companions)) for n in (most, most - 1))
        block = whole - less
        limit = self.cache_bytes if self.cache_bytes is not None else SHARE * free_memory(model)
        count = int(min((limit - whole) // block + most, most))
        if count < 2:
            raise ConfigError(
                f"the cache may take {limit / GIB:.2f} GiB, and a block of {self.block} tokens takes "
                f"{block / GIB:.2f} GiB; free memory, or give it more with cache_bytes"
            )
        if count < long:
            warnings.warn(
                f"the cache has room for {count * self.block} tokens, less than the model's context of "
                f"{self.longest(model)}: longer requests will be refused",
                stacklevel=2,
            )
        return count

    def longest(self, model: Model) -> int:
        """The longest text in tokens, prompt and answer."""
        context = model.reach(model.dims.context)
        return context if self.context is None else model.reach(self.context)

    def pages(self, model: Model, blocks: int, device: torch.device | str | None = None) -> Pages:
        """Memory for so many blocks, where the model lies or on another device; a GPU has a spare one more."""
        device = torch.device(next(model.parameters()).device if device is None else device)
        shapes = model.dims, blocks + (device.type == "cuda"), self.block, dtype_of(model), device
        made: Pages = Spec.read(self.cache, "cache").build(PAGES, *shapes, where="cache")
        made.expect(self.rows, self.budget)
        return made


def dtype_of(model: Model) -> torch.dtype:
    return next(model.parameters()).dtype


def free_memory(model: Model) -> float:
    """Bytes that are free where the model lies."""
    device = next(model.parameters()).device
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def window_of(model: Model) -> int | None:
    """How far back any layer looks, in tokens; None if some layer looks at all."""
    back = [layer.mask.back for layer in model.modules() if isinstance(layer, Attends)]
    return None if None in back else max((size for size in back if size is not None), default=None)
