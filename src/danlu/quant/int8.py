"""Eight bits a weight, for serving."""

from __future__ import annotations

from ..nn.storages import STORAGES
from .integers import Integers


@STORAGES.add("int8")
class Int8(Integers):
    """Keeps each weight as one of 255 equal steps around zero, up to the largest of its row or group of a row.

    w ≈ q · s,  s = max|w| / 127 rounded to bf16,  q = round(w / s): 8 + 16 / group bits a parameter.
    With ``zero``, w ≈ (q - z) · s, s = (max w - min w) / 255, z = -128 - min w / s rounded.
    Activations stay as they are. Published as compressed-tensors ("pack-quantized", W8A16).
    Raises: ConfigError for a group that is not 16, 32, 64, 128 or 256.
    Source: Jacob et al. 2018, arXiv:1712.05877, §3 (symmetric, without zero points; by output as Krishnamoorthi 2018,
        arXiv:1806.08342, §3.1.2).
    Truth:  tests/truth/test_integers.py (by hand); tests/parity/test_compressed_tensors.py (logits of transformers).
    """

    name = "int8"
    width = 8
    largest = 127.0
