"""Attention: learned projections around a kernel without parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from .dims import Dims
from .kernels import Ask, Kernel, attend
from .layout import Layout
from .linear import Linear
from .masks import Mask
from .positions import Position


class Attention(nn.Module):
    """Queries look at the keys their mask allows.  x, out: (B, T, M).

    Multi-head, grouped-query and multi-query attention are one class: they differ in ``dims.kv_heads``. ``head_norm``
    makes the norms of queries and keys (over D, before they are rotated). ``bias`` is that of q, k and v.
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
    ) -> None:
        super().__init__()
        wide, narrow = dims.heads * dims.head, dims.kv_heads * dims.head
        self.q = Linear(wide, dims.model, axes=("heads", "model"), bias=bias)
        self.k = Linear(narrow, dims.model, axes=("kv_heads", "model"), bias=bias)
        self.v = Linear(narrow, dims.model, axes=("kv_heads", "model"), bias=bias)
        self.o = Linear(dims.model, wide, axes=("model", "heads"), bias=out_bias)
        self.q_norm, self.k_norm = (head_norm(dims.head) if head_norm else nn.Identity() for _ in range(2))
        self.kv = nn.ModuleDict()  # site "kv": adapters that add keys and values
        self.shared = [position]  # the model owns the encoding: listed, so as not to be registered a second time
        self.mask, self.kernels, self.layer, self.head = mask, tuple(kernels), layer, dims.head

    @property
    def position(self) -> Position:
        return self.shared[0]

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        q, k, v = self._split(self.q(x)), self._split(self.k(x)), self._split(self.v(x))
        q, k = self.position.rotate(self.q_norm(q), layout), self.position.rotate(self.k_norm(k), layout)
        keys = layout.keys(self.layer, k, v)
        for adapter in self.kv.values():
            keys = adapter(keys)
        return self.o(attend(Ask(q, keys, layout, self.mask, self.position), self.kernels).flatten(-2))

    def _split(self, x: Tensor) -> Tensor:
        """(B, T, heads · D) → (B, T, heads, D), however many heads are here."""
        return x.view(*x.shape[:-1], -1, self.head)
