"""What enters a stack, by its formula in float64; layers that share weights against layers that hold copies of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import Recipe, Stack, build, load, recipe_of, save
from danlu.models.newborn import empty
from danlu.nn.dims import Dims
from danlu.nn.layout import Layout

DIMS = Dims(vocab=20, model=8, layers=1, heads=2, context=16, ffn=12)
TOKENS = torch.randint(0, 20, (2, 6), generator=torch.Generator().manual_seed(1))
TYPES = torch.tensor([[0, 0, 1, 1, 2, 2], [2, 1, 0, 0, 1, 2]])


def drawn(recipe: Recipe) -> Stack:
    model = empty(recipe, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=generator)
    assert isinstance(model, Stack)
    return model.eval()


def norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    return centered / (centered.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight + bias


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_what_enters_the_blocks(narrow: bool, typed: bool, scale: float) -> None:
    """x_0 = W ln(scale · E[token] + S[type] + P[position + offset]) + b; the blocks add nothing."""
    more: dict[str, Any] = {"embed": 4, "head": Spec("transform")} if narrow else {}
    model = drawn(
        Recipe(
            dims=DIMS, wiring=Spec("pre"), position=Spec("learned", {"offset": 2}), embed_scale=scale,
            token_types=3 if typed else 0, embed_norm=Spec("layer"), norm=Spec("layer"), **more,
        )
    )  # fmt: skip
    for silent in (model.blocks[0].sublayers.attention.o, model.blocks[0].sublayers.ffn.down):
        nn.init.zeros_(silent.weight)
    x = scale * model.embed.weight[TOKENS] + model.position.table.weight[torch.arange(2, 8)]
    x = x + model.types.weight[TYPES] if typed else x
    x = norm(x, model.embed_norm.weight, model.embed_norm.bias)
    x = x @ model.widen.weight.T + model.widen.bias if narrow else x
    expected = norm(x, model.norm.weight, model.norm.bias)
    where = replace(Layout.dense(TOKENS), token_type=TYPES if typed else None)
    torch.testing.assert_close(model.hidden(TOKENS, where), expected)


def test_tokens_of_no_kind_are_of_the_first() -> None:
    model = drawn(Recipe(dims=DIMS, token_types=3))
    first = replace(Layout.dense(TOKENS), token_type=torch.zeros_like(TOKENS))
    assert torch.equal(model(TOKENS), model(TOKENS, first))
    assert not torch.equal(model(TOKENS), model(TOKENS, replace(first, token_type=TYPES)))


@pytest.mark.parametrize(
    ("distinct", "firsts"), [(1, [0] * 5), (2, [0, 0, 0, 3, 3]), (3, [0, 0, 2, 2, 4]), (5, [0, 1, 2, 3, 4])]
)
def test_shared_layers_are_copies_whose_gradients_add_up(distinct: int, firsts: list[int]) -> None:
    """⌊layer · groups / layers⌋ names the group; 0 groups is a group a layer."""
    dims = replace(DIMS, layers=5)
    shared, apart = drawn(Recipe(dims=dims, distinct=distinct)), drawn(Recipe(dims=dims))
    assert [shared.recipe.twin(layer) for layer in range(5)] == firsts
    held = dict(shared.named_parameters())

    def source(key: str) -> str:
        kind, layer, *rest = key.split(".")
        return ".".join([kind, str(firsts[int(layer)]), *rest]) if kind == "blocks" else key

    with torch.no_grad():
        for key, parameter in apart.named_parameters():
            parameter.copy_(held[source(key)])
    torch.testing.assert_close(shared(TOKENS), apart(TOKENS))
    for model in (shared, apart):
        model(TOKENS).square().mean().backward()
    summed = {key: torch.zeros_like(parameter) for key, parameter in held.items()}
    for key, parameter in apart.named_parameters():
        assert parameter.grad is not None
        summed[source(key)] += parameter.grad
    for key, parameter in held.items():
        torch.testing.assert_close(parameter.grad, summed[key])


def test_a_newborn_decoder_may_have_each_and_all(tmp_path) -> None:
    """ALBERT's savings and the Transformer's scale are settings of the free composition."""
    plain = {"model": 16, "layers": 4, "heads": 2, "context": 16}
    more = {"embed": 4, "scaled": True, "types": 3, "distinct": 2}
    recipe = recipe_of(Spec("decoder", plain | more), vocab=20)
    assert isinstance(recipe, Recipe)
    assert (recipe.embed, recipe.embed_scale, recipe.token_types, recipe.distinct) == (4, 4.0, 3, 2)
    assert recipe.head == Spec("transform")
    model = build(Spec("decoder", plain | more), vocab=20).eval()
    again, _ = load(save(model, None, tmp_path / "model"))
    with torch.no_grad():
        assert torch.equal(again(TOKENS), model(TOKENS))
    assert recipe_of(Spec("decoder", plain), vocab=20) == replace(
        recipe, embed=0, embed_scale=1.0, token_types=0, distinct=0, head=Spec("linear")
    )


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"distinct \(2\) must lie within 0 … layers \(1\)"):
        Recipe(dims=DIMS, distinct=2)
    with pytest.raises(ConfigError, match="name a pooler"):
        Recipe(dims=DIMS, classes=2)
    with pytest.raises(ConfigError, match="use the head 'transform'"):
        empty(Recipe(dims=DIMS, embed=4))
