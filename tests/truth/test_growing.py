"""A larger vocabulary: new rows are means of old ones, old behaviour stays."""

from __future__ import annotations

import pytest
import torch

import danlu
from danlu.core.spec import Spec
from danlu.models import build, grow, save

SIZES = {"model": 16, "layers": 1, "heads": 2, "context": 16}


@pytest.mark.parametrize("tied", [False, True])
def test_new_rows_are_means_of_their_pieces(tied, tmp_path) -> None:
    model = build(Spec("llama", {**SIZES, "tied": tied}), vocab=10).eval()
    tokens = torch.tensor([[1, 2, 9]])
    with torch.no_grad():
        before, table, head = model(tokens), model.embed.weight.clone(), model.head.weight.clone()
        grow(model, [[3, 5], [7], []])
        after = model(tokens)
    assert model.dims.vocab == model.recipe.dims.vocab == 13
    assert (model.head.weight is model.embed.weight) == tied
    torch.testing.assert_close(after[..., :10], before)
    for weight, old in ((model.embed.weight, table), (model.head.weight, head)):
        torch.testing.assert_close(weight[:10], old)
        torch.testing.assert_close(weight[10], (old[3] + old[5]) / 2)
        torch.testing.assert_close(weight[11], old[7])
        torch.testing.assert_close(weight[12], old.mean(0))
    again, _ = danlu.load(save(model, None, tmp_path / "grown"))
    with torch.no_grad():
        assert torch.equal(again(torch.tensor([[12, 1]])), model(torch.tensor([[12, 1]])))


def test_a_grown_model_trains() -> None:
    model = build(Spec("llama", SIZES), vocab=10)
    grow(model, [[1, 2]])
    model(torch.tensor([[10, 3]])).square().sum().backward()
    assert model.embed.weight.grad is not None
    assert model.embed.weight.grad[10].abs().sum() > 0
