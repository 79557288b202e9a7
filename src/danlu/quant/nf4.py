"""NormalFloat."""

from __future__ import annotations

from ..nn.storages import STORAGES
from .four_bit import FourBit

# fmt: off
VALUES = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)
# fmt: on


@STORAGES.add("nf4")
class Nf4(FourBit):
    """Keeps each weight as the nearest of 16 quantiles of a normal distribution, scaled to its block.

    w ≈ q_i · max|w| over the block;  q: 8 quantiles up to 0 and 9 from 0 on, one of them shared, scaled to [-1, 1];
    with ``double`` the maxima in 8 bits: 4 + 8/64 + 32/(64·256) = 4.127 bits a parameter.
    Raises: ConfigError for a block that is no power of two from 32 to 4096.
    Source: Dettmers et al. 2023, arXiv:2305.14314, §3 and appendix E.
    Truth:  tests/parity/test_bitsandbytes.py (bitsandbytes' bytes, constants and dequantized values, bit for bit).
    """

    name = "nf4"
    code = VALUES
