"""Four bits a weight, for serving."""

from __future__ import annotations

from ..nn.storages import STORAGES
from .integers import Integers


@STORAGES.add("int4")
class Int4(Integers):
    """Keeps each weight as one of 16 equal steps around zero, up to the largest of its group.

    w ≈ q · s,  s = max|w| / 7.5 rounded to bf16,  q = round(w / s) in -8 … 7: 4 + 16 / group bits a parameter.
    With ``zero``, w ≈ (q - z) · s, s = (max w - min w) / 15, z = -8 - min w / s rounded.
    Activations stay as they are. Published as compressed-tensors ("pack-quantized", W4A16).
    Raises: ConfigError for a group that is not 16, 32, 64, 128 or 256.
    Source: Frantar et al. 2023, arXiv:2210.17323, §4 (the grid of round-to-nearest, in groups; symmetric).
    Truth:  tests/truth/test_integers.py (by hand); tests/parity/test_compressed_tensors.py (logits of transformers).
    """

    name = "int4"
    width = 4
    largest = 7.5

    def __init__(self, *, group: int | None = 32, zero: bool = False, compute: str | None = None) -> None:
        super().__init__(group=group, zero=zero, compute=compute)
