"""Every norm."""

from __future__ import annotations

import pytest
import torch

from danlu.nn.norms import NORMS

norms = pytest.mark.parametrize("name", list(NORMS))


@norms
def test_the_size_of_the_input_does_not_matter(name) -> None:
    norm, x = NORMS[name](16), torch.randn(3, 5, 16) + 1
    torch.testing.assert_close(norm(x * 100), norm(x), atol=1e-4, rtol=1e-4)


@norms
def test_gradients_are_those_of_finite_differences(name) -> None:
    norm = NORMS[name](6).double()
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    x = torch.randn(2, 3, 6, dtype=torch.double, requires_grad=True)
    parameters = list(norm.parameters())
    torch.autograd.gradcheck(lambda x, *_: norm(x), (x, *parameters), atol=1e-4, rtol=1e-3, eps=1e-4)


@norms
def test_the_dtype_is_kept_and_half_precision_is_near(name) -> None:
    norm, x = NORMS[name](64), torch.randn(4, 64) * 3
    exact = norm(x)
    rounded = norm.bfloat16()(x.bfloat16())
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=0.05, rtol=0.02)


@norms
def test_inference_equals_training(name) -> None:
    norm, x = NORMS[name](16), torch.randn(3, 16)
    with torch.no_grad():
        plain = norm(x)
    assert torch.equal(norm(x.requires_grad_()).detach(), plain)


@norms
def test_a_vector_of_zeros_is_not_a_fault(name) -> None:
    x = torch.zeros(1, 16, requires_grad=True)
    NORMS[name](16)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@norms
def test_in_a_model(name, newborn, tokens) -> None:
    model = newborn(norm=name, head_norm=name)
    with torch.no_grad():
        assert model(tokens).isfinite().all()
