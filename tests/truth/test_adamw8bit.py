"""8-bit AdamW against its formula in numpy and float64, and the table of its codes by its definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from danlu.core.errors import ConfigError
from danlu.train.optims import codes
from danlu.train.optims.adamw import AdamW
from danlu.train.optims.adamw8bit import AdamW8bit
from danlu.train.optims.paged_adamw import PagedAdamW

LR, BETAS, EPS, DECAY = 0.01, (0.8, 0.97), 1e-6, 0.3


def nearest(table: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Codes of 256-number blocks by exhaustive search, and what they read back as."""
    blocks = np.pad(numbers, (0, -len(numbers) % 256)).reshape(-1, 256)
    largest = np.abs(blocks).max(-1, keepdims=True)
    unit = blocks / np.where(largest == 0, 1, largest)
    found = np.abs(unit[..., None] - table).argmin(-1)
    return (table[found] * largest).reshape(-1)[: len(numbers)]


def descend(optim: AdamW8bit | AdamW, start: np.ndarray, gradients: list[np.ndarray]) -> tuple[nn.Parameter, dict]:
    weight = nn.Parameter(torch.tensor(start, dtype=torch.float32))
    optimizer = optim.over([("weight", weight)])
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=torch.float32)
        optimizer.step()
    return weight, optimizer.state[weight]


@pytest.mark.parametrize(("shape", "rough"), [((20, 250), True), ((16, 100), False)])
def test_it_is_its_formula(shape: tuple[int, int], rough: bool) -> None:
    """Means are rounded to the nearest code after each step; tensors of fewer than 4096 numbers are not rounded."""
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=shape), [rng.normal(size=shape) * 10.0 ** rng.integers(-3, 1) for _ in range(5)]
    tables = [codes.code(signed=signed).values.double().numpy() for signed in (True, False)]
    w, m, v = start.ravel().copy(), np.zeros(start.size), np.zeros(start.size)
    for t, g in enumerate((g.ravel() for g in gradients), 1):
        m, v = BETAS[0] * m + (1 - BETAS[0]) * g, BETAS[1] * v + (1 - BETAS[1]) * g * g
        w = w * (1 - LR * DECAY) - LR * (m / (1 - BETAS[0] ** t)) / (np.sqrt(v / (1 - BETAS[1] ** t)) + EPS)
        if rough:
            m, v = nearest(tables[0], m), nearest(tables[1], v)
    optim = AdamW8bit(lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY)
    weight, state = descend(optim, start, gradients)
    wrong = np.abs(weight.detach().numpy().ravel() - w) > 1e-5 + 1e-4 * np.abs(w)
    assert wrong.mean() < 2e-3, "only ties of codes that float32 breaks otherwise may differ"
    assert state["exp_avg"].dtype is (torch.uint8 if rough else torch.float32)
    exact = descend(AdamW(lr=LR, betas=BETAS, eps=EPS, weight_decay=DECAY), start, gradients)[0]
    assert (not torch.allclose(exact, weight, rtol=1e-4, atol=1e-5)) is rough


def test_the_table_is_seven_decades_of_middles() -> None:
    """By hand: the last decade of the signed table has 64 middles of [0.1, 1], the first one: 0.55 · 10⁻⁶."""
    signed, unsigned = codes.code(signed=True).values, codes.code(signed=False).values
    assert len(signed) == len(unsigned) == 256
    assert signed[-2].item() == pytest.approx(1 - 0.9 / 128)
    assert unsigned[-2].item() == pytest.approx(1 - 0.9 / 256)
    assert signed[128].item() == pytest.approx(0.55e-6)
    assert (signed[127], unsigned[0], signed[-1], signed[0]) == (0, 0, 1, -signed[-2])


@pytest.mark.parametrize("signed", [True, False])
def test_codes_are_the_nearest(signed: bool) -> None:
    """Every cell of the look-up holds one border at most: against a search over the whole table."""
    table = codes.code(signed=signed).values
    rng = torch.Generator().manual_seed(1)
    spread = torch.randn(1 << 16, generator=rng).mul_(2).exp() * torch.randn(1 << 16, generator=rng)
    borders = (table[1:] + table[:-1]) / 2
    near = torch.cat([borders.nextafter(torch.tensor(9.0)), borders, borders.nextafter(torch.tensor(-9.0)), table])
    near = near[: 255 * (len(near) // 255)].view(-1, 255)
    beside_one = torch.cat([torch.ones(len(near), 1), near], dim=1).flatten()  # so that a block's largest is 1
    numbers = torch.cat([spread, beside_one])
    numbers = numbers if signed else numbers.abs()
    found, largest = codes.code(signed=signed).write(numbers)
    unit = (numbers.view(-1, 256) / numbers.view(-1, 256).abs().amax(-1, keepdim=True)).flatten()
    torch.testing.assert_close(found.long(), torch.bucketize(unit, borders), rtol=0, atol=0)
    back = codes.code(signed=signed).read(found, largest)
    assert torch.equal(back, table[found.long()] * largest.repeat_interleave(256)[: len(numbers)])


def test_stretches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long tensors move a stretch at a time."""
    rng = np.random.default_rng(3)
    start, gradients = rng.normal(size=(30, 300)), [rng.normal(size=(30, 300)) for _ in range(3)]
    whole = descend(AdamW8bit(lr=0.1), start, gradients)
    monkeypatch.setattr("danlu.train.optims.adamw8bit.AT_ONCE", 512)
    cut = descend(AdamW8bit(lr=0.1), start, gradients)
    assert torch.equal(whole[0], cut[0])
    assert all(torch.equal(whole[1][key], cut[1][key]) for key in whole[1])


def test_bytes_of_state_are_as_claimed() -> None:
    _, state = descend(AdamW8bit(), np.zeros((256, 256)), [np.ones((256, 256))])
    assert sum(v.nbytes for v in state.values() if v.numel() > 1) / 256**2 == pytest.approx(2.03, abs=0.002)


def test_a_gradient_of_zero_leaves_means_of_zero() -> None:
    weight, state = descend(AdamW8bit(weight_decay=0.0), np.ones((64, 64)), [np.zeros((64, 64))] * 3)
    assert torch.equal(weight.detach(), torch.ones(64, 64))
    assert not codes.code(signed=True).read(state["exp_avg"], state["exp_avg_largest"]).any()


@pytest.mark.parametrize(
    "make", [lambda: AdamW8bit(betas=[0.9]), lambda: PagedAdamW(bits=4), lambda: PagedAdamW(lr=-1)]
)
def test_settings_out_of_range_are_refused(make: object) -> None:
    with pytest.raises(ConfigError, match="optim"):
        make()  # type: ignore[operator]
