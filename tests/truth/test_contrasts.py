"""Contrasts against their formulas in float64, and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from danlu.core.errors import ConfigError, ShapeError
from danlu.infer.contrasts import CONTRASTS, Voices

STRONG = torch.tensor([[0.5, 0.3, 0.16, 0.04]]).log()
WEAK = torch.tensor([[0.7, 0.1, 0.1, 0.1]]).log()


def _logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 3


def _masked(score: Tensor, law: Tensor, share: float) -> Tensor:
    return torch.where(law < share * law.amax(-1, keepdim=True), -torch.inf, score)


@pytest.mark.parametrize(("share", "strength", "temperature"), [(0.1, 1.0, 0.5), (0.01, 0.3, 1.0), (1.0, 2.0, 2.0)])
def test_contrastive(share: float, strength: float, temperature: float) -> None:
    strong, weak = _logits(6, 50), _logits(6, 50, seed=1)
    p, q = strong.double().softmax(-1), (weak.double() / temperature).softmax(-1)
    expected = _masked(p.log() - strength * q.log(), p, share).float()
    contrast = CONTRASTS["contrastive"](share=share, strength=strength, temperature=temperature)
    torch.testing.assert_close(contrast(Voices(strong, weak)), expected, atol=2e-4, rtol=1e-5)


def test_contrastive_by_hand() -> None:
    """0.04 < 0.1 · 0.5 is implausible; 0.3 / 0.1 = 3 beats 0.16 / 0.1 and 0.5 / 0.7."""
    score = CONTRASTS["contrastive"](temperature=1.0)(Voices(STRONG, WEAK))[0]
    assert score.exp().tolist() == pytest.approx([0.5 / 0.7, 3.0, 1.6, 0.0], abs=1e-4)


@pytest.mark.parametrize(("share", "strength"), [(0.1, 0.5), (0.5, 2.0)])
def test_contrastive_logits(share: float, strength: float) -> None:
    strong, weak = _logits(6, 50), _logits(6, 50, seed=1)
    s, w = strong.double(), weak.double()
    expected = _masked((1 + strength) * s - strength * w, s.softmax(-1), share).float()
    contrast = CONTRASTS["contrastive_logits"](share=share, strength=strength)
    torch.testing.assert_close(contrast(Voices(strong, weak)), expected, atol=1e-4, rtol=1e-5)


def test_without_strength_it_is_the_model_among_what_is_plausible() -> None:
    score = CONTRASTS["contrastive_logits"](share=0.1, strength=0.0)(Voices(STRONG, WEAK))
    torch.testing.assert_close(score[0, :3], STRONG[0, :3])
    assert score[0, 3] == -math.inf


def test_dola() -> None:
    """Each row against the layer that is furthest from it, by the divergence that the authors' code computes."""
    strong = _logits(60, 40)
    early = {layer: _logits(60, 40, seed=layer + 1) for layer in (0, 2, 4)}
    p = strong.double().softmax(-1)
    expected, taken = [], []
    for row in range(60):
        apart = {}
        for layer, logits in early.items():
            q = logits[row].double().softmax(-1)
            m = (p[row] + q) / 2
            apart[layer] = float((m * (m / p[row]).log()).sum() + (m * (m / q).log()).sum()) / 2
        taken.append(max(apart, key=apart.__getitem__))
        expected.append(p[row].log() - early[taken[-1]][row].double().log_softmax(-1))
    assert len(set(taken)) > 1, "one layer for all rows would hide whose it is"
    score = CONTRASTS["dola"](share=0.05)(Voices(strong, early=early))
    torch.testing.assert_close(score, _masked(torch.stack(expected), p, 0.05).float(), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    ("layers", "depth", "tied", "expected"),
    [
        ("low", 12, False, (0, 2, 4)),
        ("low", 12, True, (2, 4)),
        ("high", 12, True, (6, 8, 10)),
        ("low", 32, False, tuple(range(0, 16, 2))),
        ("low", 80, True, tuple(range(2, 20, 2))),
        ("high", 80, False, tuple(range(60, 80, 2))),
        ("low", 4, True, (2,)),
        ("low", 3, True, (2,)),
        ("low", 2, True, (1,)),
        ("low", 1, True, (0,)),
        ("low", 1, False, (0,)),
        ("high", 1, False, (0,)),
        ([3, 1, 3], 4, False, (3, 1)),
    ],
)
def test_layers(layers: object, depth: int, tied: bool, expected: tuple[int, ...]) -> None:
    assert CONTRASTS["dola"](layers=layers).layers(depth, tied=tied) == expected


def test_refused() -> None:
    with pytest.raises(ConfigError, match="no layer 4 under the last; they are 0 … 3"):
        CONTRASTS["dola"](layers=[1, 4]).layers(4, tied=False)
    for layers in ("middle", [], [-1], [1.5], None, 3, ["low"]):
        with pytest.raises(ConfigError, match=r"contrast\.layers"):
            CONTRASTS["dola"](layers=layers)
    with pytest.raises(ShapeError, match="give the engine a companion"):
        CONTRASTS["contrastive"]()(Voices(STRONG))
    with pytest.raises(ShapeError, match="scores 3 tokens and the model 4"):
        CONTRASTS["contrastive"]()(Voices(STRONG, WEAK[:, :3]))
