"""Eight bits a weight and, while they are multiplied, an activation."""

from __future__ import annotations

from typing import Any, Self

from torch import Tensor

from ..nn.storages import STORAGES
from .integers import Integers
from .kernels import BY_TOKEN, by_token
from .pieces import multiplied
from .scheme import Scheme
from .whole import Whole


class PerToken(Whole):
    """y = s_x s_w Σ q_x q_w: sums of whole numbers, with one scale a token and one an output."""

    reading = "token"
    kernels = BY_TOKEN

    def read(self, x: Tensor) -> Tensor:
        numbers, scale = by_token(x.detach())
        return x + ((numbers * scale).to(x.dtype) - x).detach()  # the gradient passes as if nothing was rounded

    def times(self, x: Tensor) -> Tensor:
        numbers, scale = by_token(x)
        y = multiplied(numbers, self.out_features, self.unscaled)
        return y.mul_(self.scale.float().t()).mul_(scale).to(x.dtype)

    def tensors(self) -> dict[str, Tensor]:
        return {"weight": self.weight, "weight_scale": self.scale}


@STORAGES.add("w8a8")
class W8A8(Integers):
    """Keeps each weight as one of 255 equal steps up to the largest of its row, and rounds what they multiply likewise.

    y = s_x s_w Σ q_x q_w,  s_w = max|w| / 127 of the row, s_x = max|x| / 127.5 of the token: 8 + 16 / in bits a weight.
    Gradients pass as if activations were not rounded. Published as compressed-tensors ("int-quantized", W8A8 dynamic).
    Source: Yao et al. 2022, arXiv:2206.01861, §4.1 (token-wise activations, found while running).
    Truth:  tests/truth/test_integers.py (by hand); tests/parity/test_compressed_tensors.py (logits of transformers).
    """

    name = "w8a8"
    width = 8
    largest = 127.0
    tokens = True
    kind = PerToken
    beside = ("weight_scale",)

    def __init__(self, *, compute: str | None = None) -> None:
        super().__init__(compute=compute)

    @classmethod
    def of_published(cls, config: dict[str, Any]) -> Self | None:
        return cls() if Scheme.read(config) == Scheme(8, None, tokens=True) else None
