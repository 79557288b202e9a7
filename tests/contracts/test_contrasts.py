"""What every contrast keeps: each row by itself, the model's shape, and something to choose."""

from __future__ import annotations

import pytest
import torch

from danlu.core.errors import ConfigError
from danlu.core.spec import settings_of
from danlu.infer.contrasts import CONTRASTS, Contrast, Voices

ROWS, VOCAB, DEPTH = 7, 31, 6


def _draw(seed: int) -> torch.Tensor:
    return torch.randn(ROWS, VOCAB, generator=torch.Generator().manual_seed(seed)) * 3


def _voices(contrast: Contrast, rows: slice = slice(None)) -> Voices:
    early = {layer: _draw(layer + 2)[rows] for layer in contrast.layers(DEPTH, tied=True)}
    return Voices(_draw(0)[rows], _draw(1)[rows] if contrast.wants_weak else None, early)


@pytest.mark.parametrize("name", list(CONTRASTS))
def test_each_row_by_itself(name: str) -> None:
    contrast = CONTRASTS[name]()
    given = _voices(contrast)
    before = given.logits.clone()
    together = contrast(given)
    assert together.shape == (ROWS, VOCAB)
    assert together.dtype == torch.float32
    assert torch.equal(given.logits, before), "what is given is changed"
    for row in range(ROWS):
        alone = contrast(_voices(contrast, slice(row, row + 1)))
        torch.testing.assert_close(alone[0], together[row])


@pytest.mark.parametrize("name", list(CONTRASTS))
def test_what_the_model_finds_likeliest_may_be_chosen(name: str) -> None:
    contrast = CONTRASTS[name]()
    given = _voices(contrast)
    scores = contrast(given)
    assert not scores.isnan().any()
    assert scores.gather(-1, given.logits.argmax(-1, keepdim=True)).isfinite().all()
    assert (scores.isinf().sum(-1) > 0).any(), "nothing is implausible"


@pytest.mark.parametrize("name", list(CONTRASTS))
def test_layers_lie_under_the_last(name: str) -> None:
    for depth in (1, 2, 3, 12, 41, 80):
        for tied in (False, True):
            layers = CONTRASTS[name]().layers(depth, tied=tied)
            assert len(set(layers)) == len(layers)
            assert all(0 <= layer < depth for layer in layers)


@pytest.mark.parametrize("name", list(CONTRASTS))
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "much", None, True])
def test_settings_out_of_range(name: str, value: object) -> None:
    for setting in settings_of(CONTRASTS[name]):
        with pytest.raises(ConfigError, match=rf"contrast\.{setting}"):
            CONTRASTS[name](**{setting: value})
