"""Products with weights that exist a few rows at a time: the full matrix is in memory neither forward nor backward."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from ..core.errors import ConfigError
from ..nn.linear import product_dtype
from ..nn.storages import Storage, Stored

ROOM = 1 << 20
"""Numbers that are made at once for a few rows: with what they are made from, they stay in a core's caches."""

MANY = 32
"""Rows from which on a product takes longer than making its numbers, and likes wider pieces."""

COMPUTE = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def compute_dtype(name: str | None) -> torch.dtype | None:
    """The dtype of products that a storage is told to take; None for that of autocast, or of what is read."""
    if name is not None and name not in COMPUTE:
        raise ConfigError(
            f"storage: compute is one of {', '.join(COMPUTE)}, found {name!r}; leave it out for autocast's"
        )
    return None if name is None else COMPUTE[name]


def dtype_name(published: str | None) -> str | None:
    """``bfloat16`` as a setting names it; None for what has no name here."""
    return next((name for name, dtype in COMPUTE.items() if str(dtype) == f"torch.{published}"), None)


class Pieced(Stored, ABC):
    """A map whose weight is made dense in pieces of rows.  y = x Wᵀ + b

    ``compute`` is the dtype in which x and W are multiplied. A CPU without half-width products takes fp32 instead: it
    rounds less, and is faster there.
    """

    def __init__(
        self, storage: Storage, shape: tuple[int, int], bias: Tensor | None, axes: tuple[str, str],
        compute: torch.dtype | None,
    ) -> None:  # fmt: skip
        super().__init__(storage, shape, bias, axes)
        self.compute = compute

    @abstractmethod
    def pieces(self, dtype: torch.dtype, room: int) -> Iterator[tuple[int, Tensor]]:
        """The weight from the top, about ``room`` numbers at once: the first row, and rows (r, in) that the next piece
        may overwrite."""

    def forward(self, input: Tensor) -> Tensor:
        answered = product_dtype(input)
        rows = input.reshape(-1, self.in_features).to(self.compute or answered)
        y = _Product.apply(rows, self) if rows.requires_grad else self.served(rows)
        y = y.to(answered).view(*input.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias.to(answered)

    def served(self, x: Tensor) -> Tensor:
        """``times`` where no gradient is asked for: perhaps from the weight laid out once more, for speed."""
        return self.times(x)

    def times(self, x: Tensor) -> Tensor:
        """x Wᵀ.  (N, in) → (N, out)"""
        return multiplied(x, self.out_features, self.pieces).to(x.dtype)

    def back(self, grad: Tensor) -> Tensor:
        """g W.  (N, out) → (N, in)"""
        dtype = _multiplied(grad)
        given, x = grad.to(dtype), torch.zeros(len(grad), self.in_features, dtype=dtype, device=grad.device)
        for first, rows in self.pieces(dtype, _room(grad)):
            x.addmm_(given[:, first : first + len(rows)], rows)
        return x.to(grad.dtype)

    @torch.no_grad()
    def dense(self) -> Tensor:
        """In fp32."""
        device = next(self.buffers()).device
        weight = torch.empty(self.out_features, self.in_features, device=device)
        for first, rows in self.pieces(torch.float32, ROOM):
            weight[first : first + len(rows)] = rows
        return weight


@torch.no_grad()
def multiplied(x: Tensor, out: int, pieces: Callable[[torch.dtype, int], Iterator[tuple[int, Tensor]]]) -> Tensor:
    """x Wᵀ for W in pieces, in the dtype of the product.  (N, in) → (N, out)"""
    dtype = _multiplied(x)
    given, y = x.to(dtype), torch.empty(len(x), out, dtype=dtype, device=x.device)
    for first, rows in pieces(dtype, _room(x)):
        torch.mm(given, rows.t(), out=y[:, first : first + len(rows)])
    return y


class _Product(torch.autograd.Function):
    """x Wᵀ whose backward makes W again: only the map, as it is kept, lives between the two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kept: Pieced) -> Tensor:
        ctx.kept = kept
        return kept.times(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.kept.back(grads[0]), None


_imagined: ContextVar[bool] = ContextVar("imagined", default=False)


@contextmanager
def imagining_gpu() -> Iterator[None]:
    """Within, tensors of the host are treated like those of a GPU: for plans of a GPU that is not here."""
    before = _imagined.set(True)
    try:
        yield
    finally:
        _imagined.reset(before)


def _on_host(x: Tensor) -> bool:
    return x.device.type == "cpu" and not _imagined.get()


def _room(x: Tensor) -> int:
    """Numbers of a piece; a GPU wants few and large ones."""
    on_host = 1 if len(x) < MANY else 4
    return ROOM * (on_host if _on_host(x) else 32)


def _multiplied(x: Tensor) -> torch.dtype:
    """The dtype in which x is multiplied."""
    slow = _on_host(x) and x.dtype.itemsize < 4 and not _short_products()
    return torch.float32 if slow else x.dtype


@functools.cache
def _short_products() -> bool:
    """Whether this CPU multiplies bf16 numbers natively."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))
