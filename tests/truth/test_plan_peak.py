"""The meters against tensors whose sizes are known."""

from __future__ import annotations

import pytest
import torch

from danlu.plan import allocating, measuring

MIB = 2**20


def churn() -> torch.Tensor:
    """96 MiB at once at most (64 + 32), 40 MiB at the end."""
    first = torch.ones(16 * MIB)
    second = torch.ones(8 * MIB)
    del first
    third = torch.ones(2 * MIB)
    return second[:1] + third[:1]


def test_high_water_of_a_block() -> None:
    warm = churn()
    with measuring() as peak:
        warm += churn()
    assert peak.kind == "resident"
    assert peak.bytes_ == pytest.approx(96 * MIB, rel=0.08)
    assert abs(peak.left) < 16 * MIB
    with measuring() as nothing:
        warm += 1
    assert nothing.bytes_ < 16 * MIB, "the mark of an earlier block must not count"


@pytest.mark.filterwarnings("ignore")
def test_allocated_bytes_are_exact() -> None:
    kept = churn()
    with allocating() as peak:
        kept = kept + churn()
    assert peak.bytes_ == pytest.approx(96 * MIB, rel=1e-4)
    assert peak.kind == "torch allocator"
    assert 0 <= peak.left < 4096
    with allocating() as peak:
        kept = torch.ones(MIB)
    assert (peak.bytes_, peak.left) == pytest.approx((kept.nbytes, kept.nbytes), abs=64)
