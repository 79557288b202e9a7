"""x Wᵀ + b of few rows by the kernels, and attention over a pool."""

from __future__ import annotations

from ctypes import byref

import torch
from torch import Tensor

from .calls import CMatrix, CPaged, address
from .library import library
from .matrix import KINDS, READINGS, Matrix


def product(matrix: Matrix, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """x Wᵀ + b in fp32, answered in the dtype of x; a row's answer is the same bits whatever rows are beside it.

    x: (…, inp), bias: (out,) → (…, out)
    Integers multiply x as it is, or rounded to 8 bits (``matrix.reading``): x ≈ n · s, s = max|x| / 127 over 32
    channels or max|x| / 127.5 over the row; sums of 32 products are exact integers then.
    """
    rows = x.reshape(-1, matrix.inp).float().contiguous()
    y = rows.new_empty(len(rows), matrix.out)
    kept = None if bias is None else bias.detach().float().contiguous()
    if len(rows):
        given, threads, kernels = structure(matrix, kept), torch.get_num_threads(), library()
        room = torch.empty(kernels.product_bytes(byref(given), len(rows), threads), dtype=torch.uint8)
        kernels.product(byref(given), rows.data_ptr(), len(rows), y.data_ptr(), threads, room.data_ptr())
    return y.to(x.dtype).view(*x.shape[:-1], matrix.out)


def attend(
    q: Tensor, k: Tensor, v: Tensor, tables: Tensor, lengths: Tensor, *, size: int, window: int = 0,
    scale: float | None = None,
) -> Tensor:  # fmt: skip
    """Answers of one query a row to its keys in a pool, those of the last ``window`` or all.

    q: (N, H, D) fp32; k, v: (slots, K, D) fp32 or bf16; tables: (N, blocks) int32 of blocks of ``size`` slots;
    lengths: (N,) int32 → (N, H, D)
    """
    rows, heads, head = q.shape
    q, tables, lengths = q.contiguous(), tables.contiguous(), lengths.contiguous()
    sizes = k.dtype == torch.bfloat16, heads, k.shape[-2], head, size, tables.shape[1], window
    factor = head**-0.5 if scale is None else scale
    paged = CPaged(*map(int, sizes), factor, *map(address, (tables, lengths, k, v)))
    kernels, threads, out = library(), torch.get_num_threads(), torch.empty_like(q)
    each = -(-kernels.attend_floats(byref(paged)) // 16) * 16
    room = torch.empty(threads * each)
    kernels.attend_all(byref(paged), rows, q.data_ptr(), out.data_ptr(), threads, room.data_ptr())
    return out


def structure(matrix: Matrix, bias: Tensor | None = None) -> CMatrix:
    """The C side's view of a weight, whose tensors and bias (fp32) the caller keeps alive."""
    halves = matrix.scales is not None and matrix.scales.dtype == torch.float16
    numbers = KINDS.index(matrix.kind), matrix.out, matrix.inp, matrix.group, int(halves), READINGS[matrix.reading]
    return CMatrix(*numbers, *map(address, (matrix.data, matrix.scales, matrix.offsets, bias)))
