"""Keys that every document sees: kernels against the reference, and that plain rows need no mask for them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from danlu.nn.dims import Dims
from danlu.nn.kernels import KERNELS, Ask, attend
from danlu.nn.kernels.sdpa import Sdpa
from danlu.nn.layout import OPEN, SHARED, Keys, Layout
from danlu.nn.masks import Full, Mask
from danlu.nn.masks.block import Block
from danlu.nn.masks.causal import Causal
from danlu.nn.masks.prefix import Prefix
from danlu.nn.masks.window import Window
from danlu.nn.positions import Position
from danlu.nn.positions.none import NoPosition

LENGTH, HEADS, SIZE, COUNT = 9, 4, 8, 3
DIMS = Dims(vocab=1, model=4, heads=HEADS, layers=1, context=1)
MASKS: dict[str, Mask] = {
    "causal": Causal(),
    "window": Causal() & Window(size=3),
    "prefix": Causal() | Prefix(length=4),
    "block": Causal() & Block(size=4),
    "full": Full(),
}
LAYOUTS = ("plain", "packed", "shared", "unknown", "later")


class Fixed(Position):
    """Takes the distance times a slope of the head."""

    def bias(self, q_at: Tensor, k_at: Tensor) -> Tensor:
        slopes = torch.arange(1, HEADS + 1, dtype=torch.double) / 8
        return -(q_at[:, :, None] - k_at[:, None]).abs()[:, None] * slopes[:, None, None]


def places(kind: str) -> tuple[Layout, Tensor, Tensor]:
    """The queries' layout; positions and documents of the keys of tokens. Tokens begin at position COUNT."""
    dense = Layout.dense(torch.ones(2, LENGTH), start=COUNT)
    if kind == "plain":
        return replace(dense, first=COUNT), dense.position, dense.segment
    if kind == "later":  # the last four tokens of a longer cache
        return Layout.dense(torch.ones(2, 4), start=COUNT + LENGTH - 4), dense.position, dense.segment
    segment = torch.tensor([[1] * 4 + [2] * 3 + [3] * 2, [0] * 2 + [1] * 3 + [2] * 3 + [0]])
    at = torch.tensor([[*range(4), *range(3), *range(2)], [0, 0, *range(3), *range(3), 0]])
    layout = Layout.of(at, segment)
    if kind == "shared":  # two virtual tokens before each row, which its documents share
        spans = tuple((row, a + 2, b + 2) for row, a, b in layout.spans or ())
        at = torch.cat([torch.tensor([[0, 1]] * 2), at + 2], 1) + COUNT
        segment = torch.cat([torch.full((2, 2), SHARED), segment], 1)
        return Layout(at, segment, None, spans, first=COUNT + 2, shared=2), at, segment
    at = at + COUNT
    known = replace(layout, position=at, first=COUNT)
    return known if kind == "packed" else Layout(at, segment), at, segment


def question(kind: str, mask: str, kv_heads: int, position: str, *, lifted: bool = False) -> Ask:
    layout, at, segment = places(kind)
    generator = torch.Generator().manual_seed(kv_heads)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.double, requires_grad=True)

    rows, length = at.shape
    before = torch.arange(COUNT).expand(rows, -1)
    at, segment = torch.cat([before, at], 1), torch.cat([before * 0 + OPEN, segment], 1)
    k, v = (numbers(rows, COUNT + length, kv_heads, SIZE) for _ in range(2))
    queries = layout.position.shape[1]
    lift = numbers(rows, queries, COUNT) if lifted else None
    kind_of = Fixed if position == "fixed" else NoPosition
    return Ask(numbers(rows, queries, HEADS, SIZE), Keys(k, v, at, segment, None, COUNT, lift), layout, MASKS[mask],
               kind_of(DIMS))  # fmt: skip


def compare(name: str, ask: Ask) -> None:
    real = ask.layout.segment != 0  # what padding answers is nobody's
    given = [ask.q, ask.keys.k, ask.keys.v] + ([] if ask.keys.lift is None else [ask.keys.lift])
    results = []
    for kernel in (KERNELS[name](), KERNELS["reference"]()):
        out = attend(ask._replace(layout=replace(ask.layout)), [kernel])
        weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)
        loss = (out * weight * real[..., None, None]).sum()
        results.append([out[real], *torch.autograd.grad(loss, given)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("name", ["sdpa", "tiled", "sparse"])
@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize(("kv_heads", "position"), [(4, "none"), (2, "none"), (1, "fixed")])
def test_equal_to_the_reference_with_gradients(name: str, kind: str, mask: str, kv_heads: int, position: str) -> None:
    compare(name, question(kind, mask, kv_heads, position))


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("position", ["none", "fixed"])
def test_lifted_keys(kind: str, mask: str, position: str) -> None:
    compare("sdpa", question(kind, mask, 2, position, lifted=True))


def test_the_reference_by_loops() -> None:
    """What a query lifts is added to its score, and weights are those of one softmax over all that it sees."""
    ask = question("packed", "window", 2, "none", lifted=True)
    found = KERNELS["reference"]().run(ask)
    keys, layout = ask.keys, ask.layout
    for b, i, h in [(0, 0, 0), (0, 5, 1), (0, 8, 3), (1, 4, 2), (1, 7, 0)]:
        seen, weights = [], []
        for j in range(keys.k.shape[1]):
            near = 0 <= layout.position[b, i] - keys.position[b, j] < 3 and layout.segment[b, i] == keys.segment[b, j]
            if j < COUNT or near:
                score = ask.q[b, i, h] @ keys.k[b, j, h // 2] / SIZE**0.5
                seen.append(keys.v[b, j, h // 2])
                weights.append((score + (keys.lift[b, i, j] if j < COUNT else 0)).exp())
        expected = sum(w * v for w, v in zip(weights, seen, strict=True)) / sum(weights)
        torch.testing.assert_close(found[b, i, h], expected)


@pytest.mark.parametrize("kind", ["plain", "packed", "shared"])
def test_causal_rows_on_the_host_need_no_mask(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag says who sees whom, and no score between documents is computed."""
    ask = question(kind, "causal", 2, "none")
    monkeypatch.setattr("danlu.nn.kernels.sdpa.allowed", lambda ask: pytest.fail("a mask was made"))
    Sdpa().run(ask)


def test_nothing_is_written_where_padding_is() -> None:
    ask = question("shared", "causal", 2, "none")
    assert Sdpa().run(ask)[ask.layout.segment == 0].abs().sum() == 0


def test_kernels_that_show_no_scores_refuse_lifted_keys() -> None:
    ask = question("plain", "causal", 2, "none", lifted=True)
    for name in ("tiled", "sparse", "flex"):
        assert KERNELS[name]().refuses(ask) == "queries lift some of the keys, and its scores are never shown"
    assert attend(ask, [KERNELS["tiled"](), KERNELS["sdpa"]()]).shape == ask.q.shape
