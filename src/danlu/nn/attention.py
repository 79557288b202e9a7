"""Attention: learned projections around a kernel without parameters."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from .dims import Dims
from .kernels import Ask, Kernel, attend, fitting
from .layout import Keys, Layout
from .linear import Linear
from .masks import Full, Mask
from .positions import Position
from .positions.none import NoPosition
from .sites import Site


class Attends(nn.Module, ABC):
    """Queries look at the keys their mask allows.  x, out: (B, T, M).

    Multi-head, grouped-query and multi-query attention are one class: they differ in ``dims.kv_heads``. ``head_norm``
    makes the norms of queries and keys (over D, before they are rotated). ``bias`` is that of q, k and v. Scores are
    q kᵀ · ``scale``, which is 1 / sqrt(D) unless given.
    """

    def __init__(
        self,
        dims: Dims,
        layer: int,
        position: Position,
        mask: Mask,
        kernels: Sequence[Kernel],
        *,
        bias: bool = False,
        out_bias: bool = False,
        head_norm: Callable[[int], nn.Module] | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        wide, narrow = dims.heads * dims.head, dims.kv_heads * dims.head
        self.q = Linear(wide, dims.model, axes=("heads", "model"), bias=bias)
        self.k = Linear(narrow, dims.model, axes=("kv_heads", "model"), bias=bias)
        self.v = Linear(narrow, dims.model, axes=("kv_heads", "model"), bias=bias)
        self.o = Linear(dims.model, wide, axes=("model", "heads"), bias=out_bias)
        self.q_norm, self.k_norm = (head_norm(dims.head) if head_norm else nn.Identity() for _ in range(2))
        self.kv = Site()  # site "kv": adapters that add keys and values
        self.shared = [position]  # the model owns the encoding: listed, so as not to be registered a second time
        self.mask, self.kernels, self.layer = mask, fitting(kernels, position, mask), layer
        self.head, self.scale = dims.head, scale

    @property
    def position(self) -> Position:
        return self.shared[0]

    @abstractmethod
    def forward(self, x: Tensor, layout: Layout) -> Tensor: ...

    def answer(self, x: Tensor, q: Tensor, keys: Keys, layout: Layout) -> Tensor:
        """What the kernel makes of queries (B, T, H, D), which come from x, and keys, projected back: (B, T, M)."""
        for adapter in self.kv.acting():
            keys = adapter(keys, x, layout)
        ask = Ask(q, keys, layout, self.mask, self.position, self.scale)
        return self.o(attend(ask, self.kernels).flatten(-2))

    def split(self, x: Tensor) -> Tensor:
        """(B, T, heads · D) → (B, T, heads, D), however many heads are here."""
        return x.view(*x.shape[:-1], -1, self.head)


class Attention(Attends):
    """Self-attention: queries, keys and values come from the same tokens, or from those a cache kept."""

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        q, k = self.position.rotate(self.q_norm(q), layout), self.position.rotate(self.k_norm(k), layout)
        return self.answer(x, q, layout.keys(self.layer, k, v), layout)


class CrossAttention(Attends):
    """Queries of a decoder look at all that an encoder read of the same document; no position is added.

    out = softmax(W_q x (W_k m)ᵀ · scale) W_v m,  m = layout.memory.hidden (B, S, M)
    Source: Vaswani et al. 2017, arXiv:1706.03762, §3.2.3 (encoder-decoder attention).
    Truth:  tests/truth/test_cross_attention.py (the formula in float64; cached equals whole).
    """

    def __init__(self, dims: Dims, layer: int, kernels: Sequence[Kernel], **settings: object) -> None:
        super().__init__(dims, layer, NoPosition(dims), Full(), kernels, **settings)  # type: ignore[arg-type]

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        assert layout.memory is not None, "a decoder with cross-attention needs what its encoder read"
        keys = layout.memory.keys(self.layer, self._made)
        return self.answer(x, self.q_norm(self.split(self.q(x))), keys, layout.across())

    def _made(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        return self.k_norm(self.split(self.k(memory))), self.split(self.v(memory))
