"""compressed-tensors: a model directory in 8 or 4 bits, which transformers and vLLM open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...nn.model import Model
from ...nn.storages import STORAGES, store
from ..quantizing import way
from . import EXPORTS
from .hf import Hf

if TYPE_CHECKING:
    from ...tokenize import Tokenizer


@EXPORTS.add("compressed-tensors")
class CompressedTensors(Hf):
    """A directory like ``hf`` whose blocks' linear maps are kept by ``method``: int8, int4 or w8a8.

    ``group`` weights share a scale, or as many as the method says itself.
    Raises: ConfigError if the method is none that directories can be written in, or rows are no whole groups.
    Source: https://github.com/vllm-project/compressed-tensors.
    Truth:  tests/parity/test_exports.py (ids, logits, greedy text, conversations and stops of transformers).
    """

    def __init__(self, *, method: str = "int8", group: int | None = None) -> None:
        self.storage = way(method, group)

    def write(self, model: Model, tokenizer: Tokenizer, out: Path, *, overwrite: bool) -> None:
        store(model, self.storage.build(STORAGES, where="--method"))
        super().write(model, tokenizer, out, overwrite=overwrite)

    def tolerance(self) -> float:
        return 0.02
