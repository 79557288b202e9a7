"""The head of masked language models."""

from __future__ import annotations

from torch import Tensor

from ..activation import GELU, GELU_TANH
from ..dims import Dims
from ..linear import Linear
from ..norms.layer import LayerNorm
from . import HEADS, Head


@HEADS.add("transform")
class TransformHead(Head):
    """A layer of its own before the product: hidden states are what the stack knows, not yet what stands there.

    logits = W norm(gelu(W_t h + b_t)) + b,  W_t: (E, M), W: (V, E) tied to the embedding or its own
    Source: Devlin et al. 2019, arXiv:1810.04805, appendix A (as in the published weights: cls.predictions).
    Truth:  tests/truth/test_heads.py (the formula in float64).
    """

    def __init__(self, dims: Dims, narrow: int, *, eps: float = 1e-12, tanh: bool = False) -> None:
        super().__init__()
        self.inner = Linear(narrow, dims.model, axes=("embed", "model"), bias=True)
        self.norm = LayerNorm(narrow, eps=eps)
        self.out = Linear(dims.vocab, narrow, axes=("vocab", "embed"), bias=True)
        self.activation = GELU_TANH if tanh else GELU

    @property
    def table(self) -> Linear:
        return self.out

    def forward(self, input: Tensor) -> Tensor:
        return self.out(self.norm(self.activation.of(self.inner(input))))
