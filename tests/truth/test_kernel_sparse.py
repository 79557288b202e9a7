"""Sparse attention: the reference in float64, which tiles meet by enumeration, and a cost that grows with N · window."""

from __future__ import annotations

import pytest
import torch
from kernel_questions import FORMULA, LAYOUTS, QUESTIONS, question, same_with_gradients
from torch.utils.flop_counter import FlopCounterMode

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import build
from danlu.nn.kernels import KERNELS, Ask, allowed
from danlu.nn.kernels.sparse import Sparse
from danlu.nn.layout import Keys, Layout
from danlu.nn.masks import Full, Mask
from danlu.nn.masks.block import Block
from danlu.nn.masks.causal import Causal
from danlu.nn.masks.hub import Hub
from danlu.nn.masks.prefix import Prefix
from danlu.nn.masks.strided import Strided
from danlu.nn.masks.summary import Summary
from danlu.nn.masks.window import Window
from danlu.nn.tiles import meeting

HEADS, SIZE = 2, 8
ALONE = [Causal(), Full(), Window(size=3), Prefix(length=4), Hub(length=2), Block(size=5, near=1), Block(size=4)]
ALONE += [Strided(stride=5), Summary(size=6, last=2)]
TOGETHER = [Causal() & Window(size=4), Causal() | Prefix(length=3), Causal() & (Window(size=2) | Hub(length=1))]


@pytest.mark.parametrize("tile", [3, 64])
@pytest.mark.parametrize("name", QUESTIONS)
def test_equal_to_the_definition_in_float64_with_gradients(name, tile) -> None:
    same_with_gradients(Sparse(tile=tile), question(name), 1e-10)


def tiles_that_meet(ask: Ask, q_tile: int, k_tile: int) -> list[list[list[bool]]]:
    """By asking for every pair of a query and a key."""
    may = allowed(ask)
    return [[[bool(part.any()) for part in some.split(k_tile, 1)] for some in row.split(q_tile, 0)] for row in may]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mask", ALONE + TOGETHER, ids=str)
@pytest.mark.parametrize(("q_tile", "k_tile"), [(1, 1), (2, 3), (4, 4)])
def test_no_tile_is_left_out_that_holds_a_pair(layout, mask, q_tile, k_tile) -> None:
    ask = question(f"{layout} causal")._replace(mask=mask)
    found = meeting(ask.layout, ask.keys, mask, q_tile, k_tile)
    expected = torch.tensor(tiles_that_meet(ask, q_tile, k_tile))
    assert found.shape == expected.shape
    assert not (expected & ~found).any()
    if (q_tile, k_tile) == (1, 1):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("mask", ALONE, ids=str)
@pytest.mark.parametrize(("q_tile", "k_tile"), [(2, 3), (4, 4), (5, 2)])
def test_a_mask_by_itself_leaves_out_every_empty_tile_of_a_plain_row(mask, q_tile, k_tile) -> None:
    ask = question("plain causal")._replace(mask=mask)
    assert meeting(ask.layout, ask.keys, mask, q_tile, k_tile).tolist() == tiles_that_meet(ask, q_tile, k_tile)


def operations(kernel: str, mask: Mask, length: int, documents: int = 1) -> int:
    x = torch.zeros(1, length, HEADS, SIZE)
    each = length // documents
    at, segment = torch.arange(each).repeat(documents)[None], torch.arange(documents).repeat_interleave(each)[None] + 1
    layout = Layout.dense(x) if documents == 1 else Layout(at, segment)
    with FlopCounterMode(display=False, custom_mapping=FORMULA) as counter:
        ask = Ask(x, Keys(x, x, layout.position, layout.segment), layout, mask, question("plain full").position)
        KERNELS[kernel]().run(ask)
    return counter.get_total_flops()


def test_the_cost_of_a_window_grows_with_the_row_and_not_with_its_square() -> None:
    """A query in tile i of 64 sees the tiles that hold its last 128 keys: i - 2 to i."""
    mask = Causal() & Window(size=128)
    for length in (1024, 2048, 4096):
        tiles = length // 64
        pairs = (1 + 2 + 3 * (tiles - 2)) * 64 * 64
        assert operations("sparse", mask, length) == 4 * pairs * HEADS * SIZE
    assert operations("sdpa", mask, 4096) == 16 * operations("sdpa", mask, 1024)


def test_packed_documents_cost_their_own_squares() -> None:
    for length in (1024, 2048):
        assert operations("sparse", Full(), length, length // 128) == 4 * length * 128 * HEADS * SIZE


def test_a_prefix_costs_its_columns_and_a_causal_row_at_most_twice_its_half() -> None:
    prefix = (Causal() & Window(size=64)) | Prefix(length=64)
    assert operations("sparse", prefix, 4096) < 4 * 4096 * 192 * HEADS * SIZE
    half = 4 * (64 * 65 // 2) * 64 * 64 * HEADS * SIZE
    assert half < operations("sparse", Causal(), 4096) < 2 * half


@pytest.mark.parametrize("recompute", [False, True])
def test_a_model_trains_the_same(recompute) -> None:
    gradients = []
    for kernel in ("reference", "sparse"):
        mask = {"use": "both", "a": "causal", "b": {"use": "window", "size": 4}}
        sizes = {"model": 16, "layers": 2, "heads": 2, "context": 32, "width": 16, "position": "t5", "mask": mask}
        model = build(
            Spec("decoder", {**sizes, "kernels": [kernel if kernel == "reference" else {"use": kernel, "tile": 3}]}),
            vocab=20,
        )
        model.recompute = recompute
        torch.manual_seed(0)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        tokens = torch.randint(0, 20, (2, 11), generator=torch.Generator().manual_seed(1))
        model.double().hidden(tokens).square().sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(
            gradients[1][name], gradient, atol=1e-6, rtol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_a_tile_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 token, found 0"):
        Sparse(tile=0)
