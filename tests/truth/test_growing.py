"""A larger vocabulary: new rows are means of old ones, old behaviour stays."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import danlu
from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import build, grow, recipe_of, save
from danlu.models.forms import made

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


@pytest.mark.parametrize("tied", [False, True])
def test_a_head_with_a_layer_of_its_own_and_biases_grows_too(tied, tmp_path) -> None:
    """BERT: the bias of a new token is the mean of its pieces' biases."""
    model = build(Spec("bert", {**SIZES, "tied": tied}), vocab=10).eval()
    tokens = torch.tensor([[1, 2, 9]])
    with torch.no_grad():
        torch.nn.init.normal_(model.head.out.bias)
        before, bias = model(tokens), model.head.out.bias.clone()
        grow(model, [[3, 5], [7], []])
        after = model(tokens)
    assert (model.head.out.weight is model.embed.weight) == tied
    torch.testing.assert_close(after[..., :10], before)
    torch.testing.assert_close(after[..., 11], before[..., 7])
    torch.testing.assert_close(model.head.out.bias[10:], torch.stack([(bias[3] + bias[5]) / 2, bias[7], bias.mean()]))
    again, _ = danlu.load(save(model, None, tmp_path / "grown"))
    with torch.no_grad():
        assert torch.equal(again(torch.tensor([[12, 1]])), model(torch.tensor([[12, 1]])))


def test_a_grown_model_trains() -> None:
    model = build(Spec("llama", SIZES), vocab=10)
    grow(model, [[1, 2]])
    model(torch.tensor([[10, 3]])).square().sum().backward()
    assert model.embed.weight.grad is not None
    assert model.embed.weight.grad[10].abs().sum() > 0


@pytest.mark.parametrize("name", ["t5", "transformer"])
def test_an_encoder_decoder_grows_on_both_sides(name, tmp_path) -> None:
    model = build(Spec(name, SIZES), vocab=10).eval()
    source, target = torch.tensor([[1, 2, 9]]), torch.tensor([[0, 4]])
    with torch.no_grad():
        before = model.translate(source, target)
        grow(model, [[3, 5], [7]])
        after = model.translate(source, target)
        torch.testing.assert_close(after[..., :10], before)
        torch.testing.assert_close(after[..., 11], before[..., 7])
        torch.testing.assert_close(
            model.translate(torch.tensor([[1, 11]]), target), model.translate(torch.tensor([[1, 7]]), target)
        )
        again, _ = danlu.load(save(model, None, tmp_path / "grown"))
        assert torch.equal(
            again.translate(torch.tensor([[10, 1]]), target), model.translate(torch.tensor([[10, 1]]), target)
        )
    assert again.recipe == model.recipe
    assert model.encoder.embed.weight is model.decoder.embed.weight


def test_two_vocabularies_do_not_grow_as_one() -> None:
    recipe = recipe_of(Spec("transformer", SIZES), vocab=10)
    with pytest.raises(ConfigError, match="have a vocabulary each"):
        grow(made(replace(recipe, shared=False)), [[1]])


def test_a_recurrent_model_grows() -> None:
    model = build(Spec("recurrent", {"model": 16, "layers": 1, "context": 16}), vocab=10)
    grow(model, [[1, 2]])
    assert model(torch.tensor([[10, 3]])).shape[-1] == model.recipe.dims.vocab == 11
