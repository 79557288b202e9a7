"""Keys and values in two or four bits, the newest as they came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import gcd
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from ...core.errors import ConfigError
from ..dims import Dims
from . import PAGES, Pages, Table
from .fresh import Fresh
from .grids import GROUP, packed, rounded, unpacked


class Where(NamedTuple):
    """Runs of blocks that are rounded (True) or fresh, by block or place; and which of their tokens are meant."""

    runs: list[tuple[bool, Tensor]]
    tokens: slice


@PAGES.add("kivi")
class Kivi(Pages):
    """Full blocks are rounded to ``bits``, keys by channel, values by token; the ``whole`` newest stay as they came.

    x̂ = least + q · step,  step = (most - least) / (2^bits - 1): keys (K, D) have a grid a block, values (size, K)
    one each 32 channels (what divides D and 32); least and step are float16.
    bytes = 2 · layers · K · D · (bits / 8 + 2 / size + 2 / gcd(D, 32)), a token, and blocks of the newest as they came
    Raises: ConfigError if bits is not 2 or 4, if whole is negative, or D does not fill bytes.
    Source: Liu et al. 2024, arXiv:2402.02750, §3.2-3.3 and algorithm 1 (asymmetric, residual of the newest).
    Truth:  tests/truth/test_kivi_pages.py (the formula in plain Python; outlier channels cost what the paper says).
    """

    def __init__(
        self, dims: Dims, blocks: int, size: int, dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu", *, bits: int = 2, whole: int = 32,
    ) -> None:  # fmt: skip
        super().__init__(dims, blocks, size, dtype, device)
        if bits not in (2, 4) or whole < 0:
            raise ConfigError(f"kivi keeps 2 or 4 bits and 0 or more whole tokens, found {bits} and {whole}")
        if dims.head * bits % 8:
            raise ConfigError(f"kivi: heads of {dims.head} channels do not fill bytes at {bits} bits; use cache: int8")
        self.bits, self.whole = bits, whole
        self.group = gcd(dims.head, GROUP)
        shape = (dims.layers, blocks, size, dims.kv_heads, dims.head * bits // 8)
        by_channel = (dims.layers, blocks, 2, 1, dims.kv_heads, dims.head)
        by_token = (dims.layers, blocks, 2, size, dims.kv_heads, dims.head // self.group, 1)
        self.tensors = {
            "k": torch.empty(shape, dtype=torch.uint8, device=device),
            "v": torch.empty(shape, dtype=torch.uint8, device=device),
            "k_grid": torch.empty(by_channel, dtype=torch.float16, device=device),
            "v_grid": torch.empty(by_token, dtype=torch.float16, device=device),
        }
        self.rounded: set[int] = set()
        self.fresh = Fresh(dims, blocks, size, self.dtype, self.device)

    def held(self) -> Mapping[str, Tensor]:
        return self.tensors

    def twin(self, blocks: int, device: torch.device | str | None = None) -> Self:
        device = self.device if device is None else device
        return type(self)(self.dims, blocks, self.size, self.dtype, device, bits=self.bits, whole=self.whole or 0)

    def fill(self, tensors: Mapping[str, Tensor]) -> None:
        super().fill(tensors)
        self.rounded = set(range(self.blocks))

    @property
    def bytes_(self) -> int:
        return super().bytes_ + self.fresh.bytes_

    def expect(self, rows: int, tokens: int) -> None:
        """A row has whole tokens, a block that is not full and one that is on its way; fed tokens come on top."""
        assert self.whole is not None
        self.fresh.expect(rows * (-(-self.whole // self.size) + 2) + -(-tokens // self.size))

    # ── what goes in and out ─────────────────────────────────────────────────────────────────────────────────────
    def write(self, layer: int, places: Tensor, k: Tensor, v: Tensor) -> None:
        if self.fresh.misses(places // self.size):
            self._open((places // self.size).tolist())
        self.fresh.write(layer, places, k, v)

    def find(self, table: Table, start: int, stop: int) -> Where:
        first, last = start // self.size, -(-stop // self.size)
        blocks = table[first:last]
        self._open([block for block in blocks if block not in self.rounded])
        runs = []
        for old, run in groupby(blocks, self.rounded.__contains__):
            at = [block if old else self.fresh.place[block] for block in run]
            runs.append((old, torch.tensor(at, device=self.device)))
        return Where(runs, slice(start - first * self.size, stop - first * self.size))

    def read(self, layer: int, where: Where) -> tuple[Tensor, Tensor]:
        found = [self._of(layer, at) if old else self.fresh.read(layer, at) for old, at in where.runs]
        k, v = (torch.cat([one[side] for one in found]) if len(found) > 1 else found[0][side] for side in (0, 1))
        return k[where.tokens], v[where.tokens]

    def _of(self, layer: int | slice, blocks: Tensor | int) -> tuple[Tensor, Tensor]:
        """Rounded blocks, (n · size, K, D) each."""
        k_grid, v_grid = (self.tensors[name][layer, blocks].float() for name in ("k_grid", "v_grid"))
        k, v = (unpacked(self.tensors[name][layer, blocks], self.bits).float() for name in ("k", "v"))
        k = k * k_grid[:, 1] + k_grid[:, 0]  # (n, size, K, D)
        v = v.unflatten(-1, (-1, self.group)) * v_grid[:, 1] + v_grid[:, 0]
        return k.flatten(0, 1).to(self.dtype), v.flatten(-2).flatten(0, 1).to(self.dtype)

    # ── who is rounded ───────────────────────────────────────────────────────────────────────────────────────────
    def settled(self, blocks: Sequence[int]) -> None:
        if not (chosen := [block for block in blocks if block in self.fresh.place]):
            return
        k, v = self.fresh.blocks(chosen)  # (layers, n, size, K, D)
        at = torch.tensor(chosen, device=self.device)
        numbers, *grid = rounded(k, 2, self.bits)
        self.tensors["k"][:, at] = packed(numbers, self.bits)
        self.tensors["k_grid"][:, at] = torch.stack(grid, 2)
        numbers, *grid = rounded(v.unflatten(-1, (-1, self.group)), -1, self.bits)
        self.tensors["v"][:, at] = packed(numbers.flatten(-2), self.bits)
        self.tensors["v_grid"][:, at] = torch.stack(grid, 2)
        self.rounded.update(chosen)
        self.fresh.close(chosen)
        self.fresh.trim()

    def dropped(self, blocks: Sequence[int]) -> None:
        self.rounded.difference_update(blocks)
        self.fresh.close(blocks)

    def bring(self, other: Any, pairs: Sequence[tuple[int, int]]) -> None:
        for a, b in pairs:
            self.dropped([b])
            if a in other.rounded:
                self.rounded.add(b)
                for name, target in self.tensors.items():
                    target[:, b] = other.tensors[name][:, a]
            elif a in other.fresh.place:
                k, v = other.fresh.blocks([a])
                self.fresh.open([b])
                self.fresh.fill(b, k[:, 0], v[:, 0])

    def _open(self, blocks: Sequence[int]) -> None:
        """These are written to: one that was rounded goes on from what it is."""
        self.fresh.open(blocks)
        for block in self.rounded.intersection(blocks):
            self.rounded.discard(block)
            found = [self._of(layer, torch.tensor([block], device=self.device)) for layer in range(self.dims.layers)]
            self.fresh.fill(block, *(torch.stack(side) for side in zip(*found, strict=True)))
