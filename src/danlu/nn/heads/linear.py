"""One product with a vector a token."""

from __future__ import annotations

from ...core.errors import ConfigError
from ..dims import Dims
from ..linear import Linear
from . import HEADS, Head


@HEADS.add("linear")
class LinearHead(Linear, Head):
    """Scores each token by the product of its vector with the hidden state.

    logits = W h (+ b),  W: (V, M), tied to the embedding or its own
    Raises: ConfigError if token vectors are narrower than the model.
    Source: Press, Wolf 2017, arXiv:1608.05859, §2 (output embedding, tied or not).
    Truth:  tests/truth/test_decoder.py (the sum of parts by hand).
    """

    def __init__(self, dims: Dims, narrow: int, *, bias: bool = False) -> None:
        super().__init__(dims.vocab, dims.model, axes=("vocab", "model"), bias=bias)
        if narrow != dims.model:
            raise ConfigError(
                f"token vectors are {narrow} wide and hidden states {dims.model}; use the head 'transform', "
                "which leads from the one to the other"
            )

    @property
    def table(self) -> Linear:
        return self
