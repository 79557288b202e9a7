"""Every mask, alone and with the causal one, through the battery of a decoder."""

from __future__ import annotations

import inspect

import pytest
import torch
from stores import EXACT
from stores import store as stored

from danlu.core.spec import Spec, settings_of
from danlu.nn.kernels import KERNELS
from danlu.nn.layout import Layout
from danlu.nn.masks import MASKS

SETTINGS = {"size": 4, "stride": 3, "length": 3, "a": {"use": "causal"}, "b": {"use": "window", "size": 5}}
masks = pytest.mark.parametrize("name", list(MASKS))


def spec(name: str) -> Spec:
    """The mask with the settings that it cannot do without."""
    needed = [n for n, p in settings_of(MASKS[name]).items() if p.default is inspect.Parameter.empty]
    return Spec(name, {setting: SETTINGS[setting] for setting in needed})


def causal(name: str) -> Spec:
    return Spec("both", {"a": {"use": "causal"}, "b": spec(name).write()})


@masks
def test_the_simplest_equal_mask_is_equal(name) -> None:
    mask = spec(name).build(MASKS)
    assert mask == spec(name).build(MASKS)
    assert hash(mask) == hash(spec(name).build(MASKS))
    for length in range(1, 9):
        for start in (0, 2, 7):
            at = torch.arange(start, start + length)[None]
            q, k = at[:, :, None], at[:, None]
            assert torch.equal(mask.within(length).allows(q, k), mask.allows(q, k))
            assert mask.allows(q, k).shape == (1, length, length)


@masks
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_what_does_not_meet_has_nothing_to_see(name, size) -> None:
    """Tiles of ``size`` queries and keys, anywhere in a row; and the mask knows more than nothing."""
    mask = spec(name).build(MASKS)
    first = torch.arange(0, 30, size)
    q, k = (first[None, :, None], first[None, :, None] + size - 1), (first[None, None], first[None, None] + size - 1)
    at = torch.arange(len(first) * size)[None]
    tiles = mask.allows(at[:, :, None], at[:, None]).view(1, len(first), size, len(first), size)
    seen, meets = tiles.any(4).any(2), mask.meets(q, k)
    assert meets.shape == seen.shape
    assert (meets | ~seen).all()
    assert meets.all() == seen.all()


@masks
@pytest.mark.parametrize("cache", EXACT)
def test_cached_equals_whole(name, cache, newborn, tokens) -> None:
    model = newborn(mask=causal(name))
    store = stored(cache, model.dims, 2, 12)
    with torch.no_grad():
        whole = model(tokens)
        cuts = [(0, 7), (7, 8), (8, 9), (9, 12)]
        parts = [model(tokens[:, a:b], Layout.dense(tokens[:, a:b], store, a)) for a, b in cuts]
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)


@masks
@pytest.mark.parametrize("position", ["rope", "t5"])
def test_packed_equals_separate_and_every_kernel_the_reference(name, position, newborn, tokens) -> None:
    model, segment = newborn(mask=spec(name), position=position), torch.tensor([[1] * 5 + [2] * 7, [1] * 9 + [0] * 3])
    where = Layout.of(torch.tensor([[*range(5), *range(7)], [*range(9), 0, 0, 0]]), segment)
    with torch.no_grad():
        together = model(tokens, where)
        for row, start, stop in where.spans or ():
            alone = model(tokens[row : row + 1, start:stop])
            torch.testing.assert_close(together[row : row + 1, start:stop], alone, atol=1e-5, rtol=1e-5)
        for block in model.blocks:
            block.sublayers.attention.kernels = (KERNELS["reference"](),)
        torch.testing.assert_close(model(tokens, where), together, atol=1e-5, rtol=1e-5)


@masks
def test_a_ragged_batch_equals_each_row_alone(name, newborn, tokens) -> None:
    model, segment = newborn(mask=spec(name)), torch.ones_like(tokens)
    segment[1, :4] = 0
    with torch.no_grad():
        together = model(tokens, Layout((segment.cumsum(1) - 1).clamp(min=0), segment))
        torch.testing.assert_close(together[:1], model(tokens[:1]), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together[1:, 4:], model(tokens[1:, 4:]), atol=1e-5, rtol=1e-5)
    assert together.isfinite().all()


@masks
def test_recipe_to_values_and_back(name, newborn) -> None:
    from danlu.models import Recipe

    recipe = newborn(mask=spec(name)).recipe
    assert Recipe.read(recipe.write()) == recipe


@masks
def test_nobody_looks_further_back_than_it_says(name) -> None:
    mask = spec(name).build(MASKS)
    at = torch.arange(60)
    may = mask.allows(at[None, :, None], at[None, None])[0]
    distance = at[:, None] - at
    if mask.back is None:
        assert any(may[q, :q].any() for q in range(40, 60)), "a mask that never looks far could say so"
    else:
        assert not may[distance >= mask.back].any()
        assert may[distance == mask.back - 1].any()
