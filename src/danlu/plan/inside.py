"""What torch's kernels take beyond the shapes of answers: memory within an operation, rooms that only they size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import unset_fake_temporarily

aten: Any = torch.ops.aten
LINE = 16  # float32 numbers in 64 bytes, to which oneDNN rounds the rows of its matrices up
FEW, MORE = 64, 128  # tokens for which the room of a recurrent layer is asked: it grows evenly with them


def inside(func: Any, args: Sequence[Any], made: Sequence[Tensor]) -> int:
    """Bytes that an operation takes and gives back besides what it answers."""
    measure = _INSIDE.get(func)
    return measure(args, made) if measure else 0


def workspace(args: Sequence[Any]) -> int:
    """Bytes that oneDNN keeps of a recurrent layer for its way back; it says so when it is asked with real numbers."""
    x, hidden = args[0], args[10]
    tokens, rows, width = x.shape
    few, more = (_kept(length, rows, width, hidden, args[9]) for length in (FEW, MORE))
    return few + (more - few) * (tokens - FEW) // (MORE - FEW)


@cache
def _kept(tokens: int, rows: int, width: int, hidden: int, mode: int) -> int:
    gates = 4 * hidden
    with unset_fake_temporarily():
        weights = torch.zeros(gates, width), torch.zeros(gates, hidden), torch.zeros(gates), torch.zeros(gates)
        state, x = torch.zeros(rows, hidden), torch.zeros(tokens, rows, width)
        made = aten.mkldnn_rnn_layer(
            x, *weights, state, state, False, [], mode, hidden, 1, True, False, False, True
        )  # fmt: skip
        return made[3].nbytes


def _recurrent(args: Sequence[Any], _: Sequence[Tensor]) -> int:
    """The weights in rows of whole lines, and the gates of all tokens."""
    return 4 * (2 * args[1].shape[1] + args[0].shape[0] * args[0].shape[1]) * _line(args[1].shape[0])


def _recurrent_back(args: Sequence[Any], made: Sequence[Tensor]) -> int:
    """The same, and the weights turned over where their other side is not whole lines."""
    gates, width = args[1].shape
    turned = 2 * 4 * gates * _line(width) if _line(width) != width else 0
    return _recurrent(args, made) + turned


def _attention(args: Sequence[Any], _: Sequence[Tensor]) -> int:
    """Scores of a few queries, their sums, and their answer, a thread."""
    few, keys = _tile(args[0], args[1])
    return _threads() * few * (4 * (keys + 2 + args[0].shape[-1]) + _half(args[0]) * keys)


def _attention_back(args: Sequence[Any], _: Sequence[Tensor]) -> int:
    """Scores of a few queries and their gradients, a thread; and a number a query."""
    few, keys = _tile(args[1], args[2])
    return _threads() * (few * keys * 2 * (4 + _half(args[1])) + 4 * few)


def _tile(q: Tensor, k: Tensor) -> tuple[int, int]:
    """Queries and keys that torch's attention on a CPU takes at once (version 2.13: FlashAttentionKernel.cpp)."""
    queries = q.shape[-2]
    few = next(size for size, least in ((256, 768), (64, 192), (32, 0)) if queries >= least)
    return min(few, queries), min(512, k.shape[-2])


def _half(x: Tensor) -> int:
    return 2 if x.dtype.itemsize == 2 else 0


def _threads() -> int:
    return torch.get_num_threads()


def _line(numbers: int) -> int:
    whole = -(-numbers // LINE) * LINE
    return whole + LINE if whole % 256 == 0 else whole


_INSIDE: dict[Any, Callable[[Sequence[Any], Sequence[Tensor]], int]] = {
    aten._scaled_dot_product_flash_attention_for_cpu.default: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default: _attention_back,
    aten.mkldnn_rnn_layer.default: _recurrent,
    aten.mkldnn_rnn_layer_backward.default: _recurrent_back,
}
