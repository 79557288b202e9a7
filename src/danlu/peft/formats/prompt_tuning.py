"""Prompt tuning's folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from .. import Adapter
from . import FORMATS, Format, Holding, Opened, Tensors, virtual
from .fields import Fields
from .published import Published


@FORMATS.add("prompt_tuning")
class PromptTuningFormat(Format):
    """Vectors that stand before each row.  prompt_embeddings: (n, E).

    Raises: CheckpointError or ConfigError for a model that is no decoder.
    Source: Lester et al. 2021, arXiv:2104.08691, §2; the files that peft 0.21 writes.
    Truth:  tests/parity/test_peft_folders.py (logits of peft with the same folder, both ways).
    """

    methods: ClassVar[tuple[str, ...]] = ("prompt",)
    prefix: ClassVar[str] = ""

    def read(self, fields: Fields, tensors: Mapping[str, Tensor], model: Published) -> Opened:
        return virtual.opened(fields, tensors, model)

    def write(self, adapter: Adapter, held: Holding, model: Published) -> tuple[dict[str, Any], Tensors]:
        config, tensors = virtual.written(held, model)
        return {**config, "prompt_tuning_init": "RANDOM"}, tensors
