"""bitsandbytes' AdamW8bit on the CPU: the same table, the same scales, and steps that stay together."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from danlu.train.optims import codes
from danlu.train.optims.adamw8bit import AdamW8bit

bnb = pytest.importorskip("bitsandbytes", reason="the peer of this parity")


@pytest.mark.parametrize("signed", [True, False])
def test_the_tables_are_equal_in_bits(signed: bool) -> None:
    assert torch.equal(codes.code(signed=signed).values, bnb.functional.create_dynamic_map(signed=signed))


def test_writing_and_reading_agree() -> None:
    """Scales and reading in bits; codes but for numbers near the middle of two, where theirs takes the farther one."""
    code = codes.code(signed=True)
    numbers = torch.randn(1 << 16, generator=torch.Generator().manual_seed(0))
    found, largest = code.write(numbers)
    theirs, state = bnb.functional.quantize_blockwise(numbers, code=code.values, blocksize=256)
    assert torch.equal(largest, state.absmax)
    assert (found != theirs).float().mean() < 0.01
    assert (found.int() - theirs.int()).abs().max() <= 1
    assert torch.equal(code.read(theirs, largest), bnb.functional.dequantize_blockwise(theirs, state))
    ours, others = (code.read(q, largest) - numbers for q in (found, theirs))
    assert (ours.abs() <= others.abs() + 1e-6).all(), "ours is the nearest"


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_stay_together(decay: float) -> None:
    rng = torch.Generator().manual_seed(0)
    start = torch.randn(64, 128, generator=rng)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    settings = {"lr": 1e-2, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": decay}
    mine = AdamW8bit(**settings).over([("weight", ours)])
    other = bnb.optim.AdamW8bit([theirs], **settings)
    for step in range(1, 21):
        gradient = torch.randn(64, 128, generator=rng)
        ours.grad, theirs.grad = gradient, gradient.clone()
        mine.step()
        other.step()
        state, peer = mine.state[ours], other.state[theirs]
        torch.testing.assert_close(state["exp_avg_largest"], peer["absmax1"], rtol=0.02, atol=1e-6)
        torch.testing.assert_close(state["exp_avg_sq_largest"], peer["absmax2"], rtol=0.02, atol=1e-6)
        gap = (ours - theirs).abs()
        assert gap.median() < 3e-4 * step**0.5, f"step {step}"
        assert gap.mean() < 0.05 * (theirs - start).abs().mean()
