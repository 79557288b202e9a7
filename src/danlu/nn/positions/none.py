"""No encoding of positions."""

from __future__ import annotations

from . import POSITIONS, Position


@POSITIONS.add("none")
class NoPosition(Position):
    """Leaves order to the causal mask alone.

    Source: Kazemnejad et al. 2023, arXiv:2305.19466, §2 (NoPE).
    Truth:  tests/truth/test_position_encodings.py (the last token of a one-layer model sees a set).
    """

    ordered = False
