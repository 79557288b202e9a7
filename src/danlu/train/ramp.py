"""A batch size that grows over a run."""

from __future__ import annotations

from collections.abc import Sequence


def factor_at(ramp: Sequence[tuple[int, int]], step: int) -> int:
    """How many batches of the stream the step after ``step`` takes: the factor of the last pair that has begun.

    Source: Smith et al. 2018, arXiv:1711.00489; Brown et al. 2020, arXiv:2005.14165, table 2.1 (batch size ramp).
    Truth:  tests/contracts/test_trainer.py (the batches that each step drew, counted).
    """
    return next((factor for start, factor in sorted(ramp, reverse=True) if start <= step), 1)
