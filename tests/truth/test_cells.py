"""Cells against torch's own networks with copied weights, and against their formulas in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from danlu.core.rng import generator
from danlu.nn.cells import CELLS, Cell
from danlu.nn.dims import Dims
from danlu.nn.linear import Birth

DIMS = Dims(vocab=5, model=6, heads=1, layers=1, context=16)
TORCH = {"lstm": nn.LSTM, "rnn": nn.RNN}


def born(name: str, size: int = 6) -> Cell:
    cell = CELLS[name](Dims(vocab=5, model=size, heads=1, layers=1, context=16))
    with torch.no_grad():
        cell.born(Birth(0.02, 1, generator(1, "cell")))
    return cell


@pytest.mark.parametrize("name", list(TORCH))
def test_it_is_the_network_of_torch(name) -> None:
    cell, theirs = born(name), TORCH[name](6, 6, batch_first=True)
    theirs.load_state_dict(cell.state_dict())
    x = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    y, after = cell.run(x, cell.begin(2, x))
    expected, last = theirs(x)
    assert torch.equal(y, expected)
    assert torch.equal(after[0], last[0] if name == "lstm" else last)


def test_the_lstm_is_its_formula() -> None:
    cell = born("lstm").double()
    x = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(0)).double()
    h = c = torch.zeros(6).double()
    for t in range(4):
        gates = cell.weight_ih_l0 @ x[0, t] + cell.weight_hh_l0 @ h + cell.bias_ih_l0 + cell.bias_hh_l0
        i, f, g, o = gates.split(6)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        y, state = cell.run(x[:, : t + 1], None)
        torch.testing.assert_close(y[0, t], h, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(state[1][0, 0], c, atol=1e-12, rtol=1e-12)


def test_the_plain_network_is_its_formula() -> None:
    cell = born("rnn").double()
    x = torch.randn(1, 4, 6, generator=torch.Generator().manual_seed(0)).double()
    h = torch.zeros(6).double()
    for t in range(4):
        h = (cell.weight_ih_l0 @ x[0, t] + cell.weight_hh_l0 @ h + cell.bias_ih_l0 + cell.bias_hh_l0).tanh()
    y, (last,) = cell.run(x, None)
    torch.testing.assert_close(y[0, 3], h, atol=1e-12, rtol=1e-12)
    assert torch.equal(last[0, 0], y[0, 3])


def test_the_forget_gates_of_a_newborn_are_open() -> None:
    cell = born("lstm", 64)
    bias = cell.bias_ih_l0 + cell.bias_hh_l0
    assert torch.equal(bias[64:128], torch.ones(64))
    assert bias[:64].abs().max() <= 2 / 8
    assert cell.weight_hh_l0.abs().max().item() == pytest.approx(1 / 8, rel=0.01)


def test_a_memory_outlives_what_a_plain_network_forgets() -> None:
    """The gradient of the last state by the first token, after 100 tokens of nothing."""
    reach = {}
    for name in TORCH:
        cell = born(name, 32)
        x = torch.zeros(1, 100, 32)
        x[0, 0] = 1.0
        x.requires_grad_()
        y, _ = cell.run(x, None)
        y[0, -1].sum().backward()
        assert x.grad is not None
        reach[name] = x.grad[0, 0].norm().item()
    assert reach["lstm"] > 1e3 * reach["rnn"]
