"""Numbers in 8 bits with an exponent of varying length: what the constants of quantized weights are kept in."""

from __future__ import annotations

import functools

import numpy
import torch
import torch.nn.functional as F
from torch import Tensor

DECADES = 7
"""How far the map reaches down from 1."""

GRID = 32767.5
"""Numbers in [-1, 1] are rounded to the nearest of 2 · GRID + 1 equal steps before the nearest value is looked up."""


@functools.cache
def dynamic(*, signed: bool = True) -> tuple[float, ...]:
    """The 256 values of the dynamic tree, in order: 0, 1, and in each decade the middles of equal parts of [0.1, 1].

    The decade of 10^-e has 2^(6 - e) parts where a bit is kept for the sign, twice as many where not.
    Source: Dettmers et al. 2021, arXiv:2110.02861, §1.3.
    Truth:  tests/parity/test_bitsandbytes.py (its map, bit for bit).
    """
    values = [0.0, 1.0]
    for decade in range(DECADES):
        parts = 2**decade if signed else 2 ** (decade + 1)
        middles = numpy.float32(10.0 ** (decade + 1 - DECADES)) * _middles(parts)
        values += [*map(float, middles), *(map(float, -middles) if signed else ())]
    return tuple(sorted(values))


def _middles(parts: int) -> numpy.ndarray:
    """The middles of equal parts of [0.1, 1], with bounds rounded once to fp32, counted from the nearer end."""
    begin, end = float(numpy.float32(0.1)), 1.0
    step, at = float(numpy.float32(numpy.float32(end - begin) / numpy.float32(parts))), numpy.arange(parts + 1)
    bounds = numpy.where(at < (parts + 1) / 2, begin + step * at, end - step * (parts - at)).astype(numpy.float32)
    return (bounds[:-1] + bounds[1:]) / numpy.float32(2)


def encode(values: Tensor, code: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """Numbers to places of the nearest in ``code`` (256, in order), once divided by their block's largest.

    values: (N,) → bytes (N,), largest (⌈N / block⌉,)
    """
    blocks = _blocks(values, block)
    largest = blocks.abs().amax(1)
    steps = (
        ((blocks * (1 / largest[:, None]) + 1) * GRID + 0.5).nan_to_num_(0.0).int()
    )  # a block of zeros has no largest
    places = torch.bucketize(steps.double().div_(GRID).sub_(1).float(), (code[:-1] + code[1:]) / 2)
    return places.to(torch.uint8).flatten()[: len(values)], largest


def decode(places: Tensor, code: Tensor, largest: Tensor, block: int) -> Tensor:
    """Numbers again.  places: (N,) → (N,)"""
    values = code.index_select(0, places.int())
    return (_blocks(values, block) * largest[:, None]).flatten()[: len(places)]


def _blocks(values: Tensor, block: int) -> Tensor:
    """(N,) → (⌈N / block⌉, block), the last one filled with zeros."""
    return F.pad(values, (0, -len(values) % block)).view(-1, block)
