"""Optimizers against their formulas in numpy, and which parameters decay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import build
from danlu.train.optims import OPTIMS
from danlu.train.optims.adamw import AdamW
from danlu.train.optims.sgd import Sgd


def descend(optim: AdamW | Sgd, start: np.ndarray, gradients: list[np.ndarray]) -> np.ndarray:
    weight = nn.Parameter(torch.tensor(start, dtype=torch.float32))
    optimizer = optim.over([("weight", weight)])
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=torch.float32)
        optimizer.step()
    return weight.detach().numpy()


def test_adamw_is_its_formula() -> None:
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(3, 4)), [rng.normal(size=(3, 4)) for _ in range(7)]
    lr, (b1, b2), eps, decay = 0.01, (0.8, 0.97), 1e-6, 0.3
    w, m, v = start.copy(), np.zeros_like(start), np.zeros_like(start)
    for t, g in enumerate(gradients, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        w = w * (1 - lr * decay)
        w = w - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
    found = descend(AdamW(lr=lr, betas=[b1, b2], eps=eps, weight_decay=decay), start, gradients)
    np.testing.assert_allclose(found, w, rtol=2e-5, atol=1e-6)


def test_sgd_by_hand() -> None:
    """w = 1, g = 1, 1, 1, lr 0.1, μ 0.5: u = 1, 1.5, 1.75, so w = 0.9, 0.75, 0.575."""
    found = descend(Sgd(lr=0.1, momentum=0.5), np.ones((1, 1)), [np.ones((1, 1))] * 3)
    np.testing.assert_allclose(found, [[0.575]], rtol=1e-6)


def test_matrices_and_embeddings_decay_vectors_do_not() -> None:
    spec = Spec("gpt2", {"model": 16, "layers": 1, "heads": 2, "context": 8})
    model = build(spec, vocab=11)
    optimizer = AdamW(lr=1.0, weight_decay=0.5).over(model.named_parameters())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.zeros_like(p)  # without gradient only decay moves a weight
    optimizer.step()
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] * (0.5 if p.ndim >= 2 else 1.0), msg=name)
    assert {p.ndim for p in model.parameters()} == {1, 2}


@pytest.mark.parametrize("name", sorted(OPTIMS))
def test_frozen_parameters_are_left_out(name: str) -> None:
    layer = nn.Linear(2, 2)
    layer.weight.requires_grad_(False)
    optimizer = OPTIMS[name]().over(layer.named_parameters())
    assert [id(p) for group in optimizer.param_groups for p in group["params"]] == [id(layer.bias)]


@pytest.mark.parametrize(
    "make",
    [lambda: AdamW(betas=[0.9]), lambda: AdamW(betas=[0.9, 1.0]), lambda: AdamW(lr=-1), lambda: Sgd(momentum=1.0)],
)
def test_settings_out_of_range_are_refused(make: object) -> None:
    with pytest.raises(ConfigError, match="optim"):
        make()  # type: ignore[operator]


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    """YAML 1.1 takes 1e-4 for a string."""
    assert Spec("adamw", {"lr": "1e-4"}).build(OPTIMS).lr == 1e-4
