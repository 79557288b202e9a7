"""Questions to attention kernels in float64: masks, grouped heads, packed documents, padding, caches and biases."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from danlu.nn.dims import Dims
from danlu.nn.kernels import KERNELS, Ask, Kernel
from danlu.nn.layout import Keys, Layout
from danlu.nn.masks import Full, Mask
from danlu.nn.masks.causal import Causal
from danlu.nn.masks.prefix import Prefix
from danlu.nn.masks.window import Window
from danlu.nn.positions import Position
from danlu.nn.positions.none import NoPosition

LENGTH, HEADS, SIZE = 11, 4, 8
DIMS = Dims(vocab=1, model=4, heads=HEADS, layers=1, context=1)


class Fixed(Position):
    """Takes the distance times a slope of the head."""

    def bias(self, q_at: Tensor, k_at: Tensor) -> Tensor:
        slopes = torch.arange(1, HEADS + 1, dtype=torch.double) / 8
        return -(q_at[:, :, None] - k_at[:, None]).abs()[:, None] * slopes[:, None, None]


class Learned(Position):
    """A learned number of the head for each distance up to 4, and a parameter that takes no part."""

    def __init__(self, dims: Dims) -> None:
        super().__init__(dims)
        generator = torch.Generator().manual_seed(1)
        self.table = nn.Parameter(torch.randn(HEADS, 9, generator=generator, dtype=torch.double))
        self.idle = nn.Parameter(torch.zeros(1))

    def bias(self, q_at: Tensor, k_at: Tensor) -> Tensor:
        return self.table[:, (k_at[:, None] - q_at[:, :, None]).clamp(-4, 4) + 4].transpose(0, 1)


MASKS: dict[str, Mask] = {
    "causal": Causal(),
    "full": Full(),
    "window": Causal() & Window(size=3),
    "prefix": Causal() | Prefix(length=4),
    "sides": Window(size=2),
}
POSITIONS = {"none": NoPosition, "fixed": Fixed, "learned": Learned}
LAYOUTS = ("plain", "packed", "unknown", "padded", "cached", "shared")
QUESTIONS = [
    f"{layout} {mask} {heads} {position}".replace(" apart", "").replace(" none", "")
    for layout in LAYOUTS
    for mask in MASKS
    for heads, position in (("apart", "learned"), ("grouped", "none"), ("single", "fixed"))
]


def question(name: str) -> Ask:
    """``"packed window grouped learned"``: a layout, a mask, and where they differ heads and a position."""
    words = name.split()
    kv_heads = 2 if "grouped" in words else 1 if "single" in words else HEADS
    position = next((POSITIONS[word] for word in words if word in POSITIONS), NoPosition)(DIMS)
    layout, at, segment = _places(words[0])
    generator = torch.Generator().manual_seed(len(name))

    def numbers(length: int, heads: int) -> Tensor:
        shape = (len(at), length, heads, SIZE)
        return torch.randn(shape, generator=generator, dtype=torch.double, requires_grad=True)

    q = numbers(layout.position.shape[1], HEADS)
    keys = Keys(numbers(at.shape[1], kv_heads), numbers(at.shape[1], kv_heads), at, segment)
    return Ask(q, keys, layout, MASKS[words[1]], position)


def _places(kind: str) -> tuple[Layout, Tensor, Tensor]:
    """The queries' layout, and positions and documents of the keys."""
    dense = Layout.dense(torch.ones(2, LENGTH))
    segment = torch.tensor([[1] * 5 + [2] * 4 + [3] * 2, [0] * 2 + [1] * 3 + [0] + [2] * 4 + [0]])
    at = torch.tensor([[*range(5), *range(4), *range(2)], [0, 0, *range(3), 0, *range(4), 0]])
    if kind == "packed":
        return Layout.of(at, segment), at, segment
    if kind == "unknown":
        return Layout(at, segment), at, segment
    if kind == "padded":  # rows aligned at their ends, the last keys of a longer cache
        segment = torch.tensor([[1] * LENGTH, [0] * 4 + [1] * (LENGTH - 4)])
        at = (segment.cumsum(1) - 1).clamp(min=0)
        return Layout(at[:, 6:], segment[:, 6:]), at, segment
    if kind == "cached":  # the last four tokens look at all
        return Layout.dense(torch.ones(2, 4), start=LENGTH - 4), dense.position, dense.segment
    if kind == "shared":  # two keys before the row's own that every document sees
        before = torch.zeros(2, 2, dtype=torch.long)
        return Layout.of(at, segment), torch.cat([before, at], 1), torch.cat([before - 1, segment], 1)
    return dense, dense.position, dense.segment


def same_with_gradients(kernel: Kernel, ask: Ask, within: float) -> None:
    """The kernel answers as the reference does, with the gradients of q, k, v and of what makes the bias."""
    assert kernel.refuses(ask) is None
    given = [ask.q, ask.keys.k, ask.keys.v, *ask.position.parameters()]
    results = []
    for one in (kernel, KERNELS["reference"]()):
        fresh = ask._replace(
            layout=Layout(ask.layout.position, ask.layout.segment, None, ask.layout.spans, ask.layout.plain)
        )
        out = one.run(fresh)
        weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)
        results.append([out, *torch.autograd.grad((out * weight).sum(), given, allow_unused=True)])
    for found, expected in zip(*results, strict=True):
        assert (found is None) == (expected is None)
        if found is not None:
            torch.testing.assert_close(found, expected, atol=within, rtol=within)


def _attention(q: list[int], k: list[int], *_: object, **__: object) -> int:
    """Of shapes (B, H, T, D) and (B, H, S, D): two products of two operations a number."""
    return 4 * q[0] * q[1] * q[2] * k[2] * q[3]


FORMULA = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}  # which torch's counter lacks
