"""Floating-point numbers of 4 bits."""

from __future__ import annotations

from ..nn.storages import STORAGES
from .four_bit import FourBit

POSITIVE = tuple(value / 12 for value in (0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0))


@STORAGES.add("fp4")
class Fp4(FourBit):
    """Keeps each weight as the nearest of 16 floating-point numbers with one bit of sign, scaled to its block.

    w ≈ ± v · max|w| over the block,  12 v ∈ {0, 1/16, 2, 3, 4, 6, 8, 12}
    Raises: ConfigError for a block that is no power of two from 32 to 4096.
    Source: Dettmers et al. 2023, arXiv:2305.14314, §4 (FP4 with two bits of exponent and one of fraction).
    Truth:  tests/parity/test_bitsandbytes.py (bitsandbytes' bytes, constants and dequantized values, bit for bit).
    """

    name = "fp4"
    code = (*POSITIVE, *(-value for value in POSITIVE))
