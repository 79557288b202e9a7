"""Every position encoding, with every mask, through the battery of a decoder."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from stores import EXACT
from stores import store as stored

from danlu.core.spec import Spec
from danlu.nn.kernels import KERNELS
from danlu.nn.layout import Layout
from danlu.nn.positions import POSITIONS

CAUSAL = Spec("causal")
WINDOW = Spec("both", {"a": CAUSAL, "b": {"use": "window", "size": 5}})
PREFIX = Spec("either", {"a": CAUSAL, "b": {"use": "prefix", "length": 3}})
MASKS = {"causal": CAUSAL, "window": WINDOW, "prefix": PREFIX, "full": Spec("full")}
CACHED = ["causal", "window"]
REFERENCE = (Spec("reference"),)
LENGTHS = [5, 4, 3]
SMALL = {"model": 32, "layers": 2, "heads": 4, "kv_heads": 2, "context": 32}

positions = pytest.mark.parametrize("position", list(POSITIONS))


def packed() -> Layout:
    """Two rows of twelve: three documents, and two documents with padding between and after them."""
    segment = torch.tensor([[1] * 5 + [2] * 4 + [3] * 3, [1] * 4 + [0] * 2 + [2] * 5 + [0]])
    position = torch.tensor([[*range(5), *range(4), *range(3)], [*range(4), 0, 0, *range(5), 0]])
    return Layout.of(position, segment)


@positions
@pytest.mark.parametrize("mask", CACHED)
@pytest.mark.parametrize("cache", EXACT)
def test_cached_equals_whole(position, mask, cache, newborn, tokens) -> None:
    model = newborn(position=position, mask=MASKS[mask])
    store = stored(cache, model.dims, 2, 16)
    with torch.no_grad():
        whole = model(tokens)
        cuts = [(0, 7), (7, 8), (8, 9), (9, 12)]
        parts = [model(tokens[:, a:b], Layout.dense(tokens[:, a:b], store, a)) for a, b in cuts]
    assert store.length == 12
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)


@positions
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("layout", ["plain", "packed", "packed, facts unknown"])
def test_every_kernel_equals_the_reference(position, mask, layout, newborn, tokens) -> None:
    model = newborn(position=position, mask=MASKS[mask])
    where = {
        "plain": Layout.dense(tokens),
        "packed": packed(),
        "packed, facts unknown": Layout(packed().position, packed().segment),
    }[layout]
    reference = newborn(position=position, mask=MASKS[mask])
    for block in reference.blocks:
        block.sublayers.attention.kernels = (KERNELS["reference"](),)
    hidden = model.hidden(tokens, where)
    torch.testing.assert_close(hidden, reference.hidden(tokens, where), atol=1e-5, rtol=1e-5)
    for this in (model, reference):
        (this.hidden(tokens, where) * (where.segment != 0)[..., None]).square().sum().backward()
    for (name, a), b in zip(model.named_parameters(), reference.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, atol=1e-4, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@positions
@pytest.mark.parametrize("mask", MASKS)
def test_packed_equals_separate(position, mask, newborn, tokens) -> None:
    model, where = newborn(position=position, mask=MASKS[mask]), packed()
    assert where.spans is not None
    with torch.no_grad():
        together = model(tokens, where)
        for row, start, stop in where.spans:
            alone = model(tokens[row : row + 1, start:stop])
            torch.testing.assert_close(together[row : row + 1, start:stop], alone, atol=1e-5, rtol=1e-5)


@positions
@pytest.mark.parametrize("mask", CACHED)
@pytest.mark.parametrize("cache", EXACT)
def test_a_ragged_batch_equals_each_row_alone(position, mask, cache, newborn, tokens) -> None:
    """Rows are aligned at their ends, and decoded from the cache."""
    model = newborn(position=position, mask=MASKS[mask])
    segment = torch.ones_like(tokens)
    segment[1, :4] = 0
    at = (segment.cumsum(1) - 1).clamp(min=0)
    store = stored(cache, model.dims, 2, 12)
    with torch.no_grad():
        cuts = [(0, 9), (9, 10), (10, 12)]
        parts = [model(tokens[:, a:b], Layout(at[:, a:b], segment[:, a:b], store)) for a, b in cuts]
        together = torch.cat(parts, 1)
        torch.testing.assert_close(together[:1], model(tokens[:1]), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(together[1:, 4:], model(tokens[1:, 4:]), atol=1e-5, rtol=1e-5)
    assert together.isfinite().all()


@positions
def test_order_matters(position, newborn) -> None:
    """In one layer the last query sees a set of keys unless the encoding orders them."""
    model = newborn(position=position, layers=1)
    tokens = torch.randint(0, 50, (1, 8), generator=torch.Generator().manual_seed(2))
    other = tokens.clone()
    other[0, [1, 4]] = tokens[0, [4, 1]]
    assert tokens[0, 1] != tokens[0, 4]
    with torch.no_grad():
        same = torch.allclose(model(tokens)[:, -1], model(other)[:, -1], atol=1e-5)
    assert same != POSITIONS[position].ordered


@positions
def test_the_future_is_not_seen(position, newborn, tokens) -> None:
    model, other = newborn(position=position), tokens.clone()
    other[:, 8:] = (other[:, 8:] + 1) % 50
    with torch.no_grad():
        assert torch.equal(model(tokens)[:, :8], model(other)[:, :8])
        assert not torch.allclose(model(tokens)[:, 8:], model(other)[:, 8:])


@positions
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_recomputed_blocks_give_the_same_gradient(position, dropout, newborn, tokens) -> None:
    model = newborn(position=position, dropout=dropout).train()
    gradients = []
    for recompute in (False, True):
        model.recompute = recompute
        model.zero_grad()
        torch.manual_seed(5)
        model.hidden(tokens, packed()).square().sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name in gradients[0]:
        assert torch.equal(gradients[0][name], gradients[1][name]), name


@positions
def test_a_model_without_memory_has_the_same_shapes(position, newborn) -> None:
    from danlu.models import on_meta

    model = newborn(position=position)
    shapes = {name: p.shape for name, p in on_meta(model.recipe).named_parameters()}
    assert shapes == {name: p.shape for name, p in model.named_parameters()}


@positions
def test_saved_equals_loaded(position, newborn, tokens, tmp_path) -> None:
    from danlu.models import load, save

    model = newborn(position=position)
    again, _ = load(save(model, None, tmp_path / "model"))
    with torch.no_grad():
        assert torch.equal(again(tokens), model(tokens))


@positions
def test_a_newborn_learns_all_that_its_positions_have(position, tokens) -> None:
    """Drawn weights, not those of the fixture: nothing begins where no gradient reaches."""
    from danlu.models import build

    model = build(Spec("decoder", SMALL | {"position": position}), vocab=50)
    model(tokens).square().sum().backward()
    for name, parameter in model.position.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@positions
def test_half_precision_does_not_blunt_positions(position, newborn) -> None:
    """The encoding of far positions is computed in float32 whatever the dtype of the weights."""
    model = newborn(position=position, context=5000)
    x = torch.randn(1, 2, 32, generator=torch.Generator().manual_seed(0))
    layout = Layout(torch.tensor([[4097, 4098]]), torch.ones(1, 2, dtype=torch.long))
    heads = x.view(1, 2, 4, 8)
    exact = model.position.embed(x, layout), model.position.rotate(heads, layout)
    model = model.bfloat16()
    layout = replace(layout)
    rounded = model.position.embed(x.bfloat16(), layout), model.position.rotate(heads.bfloat16(), layout)
    for a, b in zip(exact, rounded, strict=True):
        torch.testing.assert_close(b.float(), a, atol=0.05, rtol=0.02)
