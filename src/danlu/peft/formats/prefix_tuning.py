"""Prefix tuning's folders, which are P-tuning v2's too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from ...core.errors import CheckpointError, ConfigError
from ...core.spec import Spec
from .. import Adapter
from ..virtual_keys import VirtualKeys
from . import FORMATS, Format, Holding, Opened, Tensors, virtual
from .fields import Fields
from .published import Published


@FORMATS.add("prefix_tuning")
class PrefixTuningFormat(Format):
    """Keys and values before those of every attention.  prompt_embeddings: (n, layers · 2 · K · D).

    What a network made them of while they were trained is not kept: they open as ``prefix`` without one.
    Raises: CheckpointError if they are of other sizes; ConfigError for a model that is no decoder, or unshifted tokens.
    Source: Li and Liang 2021, arXiv:2101.00190, §4.2; the files that peft 0.21 writes.
    Truth:  tests/parity/test_peft_folders.py (logits of peft with the same folder, both ways).
    """

    methods: ClassVar[tuple[str, ...]] = ("prefix", "ptuning_v2")
    prefix: ClassVar[str] = ""

    def read(self, fields: Fields, tensors: Mapping[str, Tensor], model: Published) -> Opened:
        flat = virtual.table(fields, tensors, model)
        shape = len(flat), len(model.attentions), 2, model.dims.kv_heads, model.dims.head
        if flat.numel() != torch.Size(shape).numel():
            raise CheckpointError(
                f"{fields.where}: the tensor {virtual.NAME!r} has shape {list(flat.shape)}, this model asks for "
                f"{[shape[0], torch.Size(shape[1:]).numel()]}; the adapter is of another base"
            )
        layers = flat.view(shape).unbind(1)
        state = {f"{place}.numbers": numbers for place, numbers in zip(model.attentions, layers, strict=True)}
        return Opened(Spec("prefix", {"length": len(flat), "width": None}), state)

    def write(self, adapter: Adapter, held: Holding, model: Published) -> tuple[dict[str, Any], Tensors]:
        virtual.expect_alone(held, model)
        layers = [cast(VirtualKeys, held.parts[place]) for place in model.attentions]
        if any(layer.first < 0 for layer in layers):
            raise ConfigError("PEFT's prefixes move tokens to later positions, and here they stay where they are")
        flat = torch.stack([layer.made().detach() for layer in layers], 1).flatten(1)
        width = model.dims.kv_heads * model.dims.head
        return virtual.sizes(model, len(flat), width, model.dims.kv_heads), {virtual.NAME: flat}
