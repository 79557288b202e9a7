"""Norms against their formulas in Python floats."""

from __future__ import annotations

import math

import pytest
import torch

from danlu.core.errors import ConfigError
from danlu.nn.linear import Birth
from danlu.nn.norms.batch import BatchNorm
from danlu.nn.norms.layer import LayerNorm
from danlu.nn.norms.prms import PartialRmsNorm
from danlu.nn.norms.rms import RmsNorm

X = [1.0, -2.0, 3.0, 0.5]
W = [1.0, 2.0, -1.0, 0.5]
B = [0.1, 0.0, -0.3, 2.0]


def test_rms_is_its_formula() -> None:
    norm = RmsNorm(4, eps=0.01)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor(W))
    root = math.sqrt(sum(x * x for x in X) / 4 + 0.01)
    expected = [x / root * w for x, w in zip(X, W, strict=True)]
    assert norm(torch.tensor(X)).tolist() == pytest.approx(expected, rel=1e-6)


def test_rms_does_not_center() -> None:
    torch.testing.assert_close(RmsNorm(4, eps=0.0)(torch.full((4,), 3.0)), torch.ones(4))


def test_layer_is_its_formula() -> None:
    norm = LayerNorm(4, eps=0.01)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor(W))
        norm.bias.copy_(torch.tensor(B))
    mean = sum(X) / 4
    deviation = math.sqrt(sum((x - mean) ** 2 for x in X) / 4 + 0.01)
    expected = [(x - mean) / deviation * w + b for x, w, b in zip(X, W, B, strict=True)]
    assert norm(torch.tensor(X)).tolist() == pytest.approx(expected, rel=1e-6)


def test_layer_forgets_a_shift() -> None:
    norm, x = LayerNorm(4), torch.tensor(X)
    torch.testing.assert_close(norm(x + 100), norm(x), atol=1e-4, rtol=1e-4)


NORMS = {
    "rms": RmsNorm(5),
    "layer": LayerNorm(5),
    "layer without bias": LayerNorm(5, bias=False),
    "prms": PartialRmsNorm(5, share=0.5),
    "batch": BatchNorm(5),
    "batch, evaluating": BatchNorm(5).eval(),
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=list(NORMS))
def test_gradients_are_those_of_finite_differences(norm) -> None:
    norm = norm.double()
    with torch.no_grad():
        norm.weight.add_(torch.randn(5) * 0.5)
    x = torch.randn(3, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: norm(x), (x, *norm.parameters()))


def test_rms_agrees_with_torch() -> None:
    norm, x = RmsNorm(64), torch.randn(7, 64)
    torch.testing.assert_close(norm(x), torch.nn.functional.rms_norm(x, (64,), norm.weight, 1e-6))


def test_layer_without_bias_is_layer_with_a_bias_of_zero() -> None:
    norm, x = LayerNorm(64, bias=False), torch.randn(7, 64)
    assert [name for name, _ in norm.named_parameters()] == ["weight"]
    norm.born(Birth(0.02, 1, torch.Generator()))
    torch.testing.assert_close(norm(x), LayerNorm(64)(x))
    torch.testing.assert_close(norm(x), torch.nn.functional.layer_norm(x, (64,), norm.weight, None, 1e-5))


@pytest.mark.parametrize(("share", "first"), [(0.01, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3), (1.0, 4)])
def test_partial_rms_is_its_formula(share, first) -> None:
    norm = PartialRmsNorm(4, share=share, eps=0.01)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor(W))
    root = math.sqrt(sum(x * x for x in X[:first]) / first + 0.01)
    expected = [x / root * w for x, w in zip(X, W, strict=True)]
    assert norm(torch.tensor(X)).tolist() == pytest.approx(expected, rel=1e-6)


def test_partial_rms_of_everything_is_rms() -> None:
    x = torch.randn(7, 64)
    torch.testing.assert_close(PartialRmsNorm(64, share=1.0)(x), RmsNorm(64)(x))


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01])
def test_partial_rms_of_nothing_is_refused(share) -> None:
    with pytest.raises(ConfigError, match=r"share must lie in \(0, 1\]"):
        PartialRmsNorm(4, share=share)


@pytest.mark.parametrize("momentum", [0.1, 1.0])
def test_batch_agrees_with_torch_in_both_modes(momentum) -> None:
    ours, theirs = BatchNorm(6, momentum=momentum), torch.nn.BatchNorm1d(6, momentum=momentum)
    for norm in (ours, theirs):
        torch.nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
        torch.nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(2))
    for seed in range(3):
        x = torch.randn(4, 9, 6, generator=torch.Generator().manual_seed(seed)) * 3 + 1
        torch.testing.assert_close(ours(x), theirs(x.transpose(1, 2)).transpose(1, 2))
    torch.testing.assert_close(ours.mean, theirs.running_mean)
    torch.testing.assert_close(ours.variance, theirs.running_var)
    x = torch.randn(1, 1, 6)
    torch.testing.assert_close(ours.eval()(x)[0], theirs.eval()(x[0]))


def test_running_statistics_follow_the_batch_by_hand() -> None:
    norm = BatchNorm(1, momentum=0.25)
    norm(torch.tensor([[1.0], [2.0], [6.0]]))
    assert norm.mean.item() == pytest.approx(0.75 * 0 + 0.25 * 3)
    assert norm.variance.item() == pytest.approx(0.75 * 1 + 0.25 * (4 + 1 + 9) / 2)
    norm.eval()(torch.tensor([[100.0]]))
    assert norm.mean.item() == pytest.approx(0.75)
    norm.born(Birth(0.02, 1, torch.Generator()))
    assert (norm.mean.item(), norm.variance.item()) == (0, 1)


@pytest.mark.parametrize("recompute", [False, True])
def test_a_batch_is_counted_once_though_backward_makes_the_norm_again(recompute) -> None:
    from danlu.core.spec import Spec
    from danlu.models import build

    sizes = {"model": 16, "layers": 2, "heads": 2, "context": 8, "norm": {"use": "batch", "momentum": 0.5}}
    model, tokens = build(Spec("decoder", sizes), vocab=20).train(), torch.arange(8)[None]
    model.recompute = recompute
    loss = model(tokens).square().mean()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert any(buffer.any() for name, buffer in before.items() if name.endswith("mean"))
    loss.backward()
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


def test_running_statistics_are_saved_and_loaded(tmp_path) -> None:
    import danlu
    from danlu.core.spec import Spec
    from danlu.models import build

    sizes = {"model": 16, "layers": 2, "heads": 2, "context": 8, "norm": "batch"}
    model, tokens = build(Spec("decoder", sizes), vocab=20).train(), torch.arange(8)[None]
    for _ in range(3):
        model(tokens)
    again, _ = danlu.load(danlu.save(model, None, tmp_path / "model"))
    buffers = dict(again.named_buffers())
    assert buffers["norm.mean"].any()
    assert all(torch.equal(buffers[name], buffer) for name, buffer in model.named_buffers())
    with torch.no_grad():
        assert torch.equal(again(tokens), model.eval()(tokens))


@pytest.mark.parametrize("momentum", [0.0, 1.5])
def test_a_momentum_that_forgets_or_overshoots_is_refused(momentum) -> None:
    with pytest.raises(ConfigError, match=r"momentum must lie in \(0, 1\]"):
        BatchNorm(4, momentum=momentum)
