"""P-tuning's folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from .. import Adapter
from . import FORMATS, Format, Holding, Opened, Tensors, virtual
from .fields import Fields
from .published import Published


@FORMATS.add("p_tuning")
class PTuningFormat(Format):
    """Vectors that a network made and that stand before each row; the network is not kept, so it opens as ``prompt``.

    Raises: CheckpointError or ConfigError for a model that is no decoder, or virtual tokens within the row.
    Source: Liu et al. 2021, arXiv:2103.10385, §3.2; the files that peft 0.21 writes.
    Truth:  tests/parity/test_peft_folders.py (logits of peft with the same folder, both ways).
    """

    methods: ClassVar[tuple[str, ...]] = ("ptuning",)
    prefix: ClassVar[str] = ""

    def read(self, fields: Fields, tensors: Mapping[str, Tensor], model: Published) -> Opened:
        return virtual.opened(fields, tensors, model)

    def write(self, adapter: Adapter, held: Holding, model: Published) -> tuple[dict[str, Any], Tensors]:
        config, tensors = virtual.written(held, model)
        return {**config, "encoder_hidden_size": config["token_dim"]}, tensors
