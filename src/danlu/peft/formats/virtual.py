"""What the folders of virtual tokens share: one tensor, and the sizes of the model they were trained with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor

from ...core.errors import CheckpointError, ConfigError
from ...core.spec import Spec
from ..virtual import Before
from . import Holding, Opened, Tensors
from .fields import Fields
from .published import Published

NAME = "prompt_embeddings"
DECODER = "CAUSAL_LM"


def table(fields: Fields, tensors: Mapping[str, Tensor], model: Published) -> Tensor:
    """The one tensor of such a folder.  (n, …)"""
    if model.task != DECODER:
        raise CheckpointError(f"{fields.where}: virtual tokens of PEFT's are served in decoders; train one of danlu's")
    found = tensors.get(NAME)
    fields.expect_used(tensors.keys() - {NAME}, [] if found is None else [NAME], NAME)
    assert found is not None
    return found


def opened(fields: Fields, tensors: Mapping[str, Tensor], model: Published) -> Opened:
    """Vectors before each row, whatever made them while they were trained."""
    vectors = table(fields, tensors, model)
    return Opened(Spec("prompt", {"length": len(vectors)}), {f"{model.entrance}.vectors.table": vectors})


def written(held: Holding, model: Published) -> tuple[dict[str, Any], Tensors]:
    """The vectors before each row as they are now; raises ConfigError if they stand elsewhere."""
    expect_alone(held, model)
    entrance = held.parts.get(model.entrance)
    if not isinstance(entrance, Before):
        raise ConfigError("PEFT's virtual tokens stand before each row, and these stand elsewhere")
    vectors = cast(Tensor, entrance.vectors()).detach()
    return sizes(model, len(vectors), vectors.shape[1], model.dims.heads), {NAME: vectors}


def sizes(model: Published, length: int, width: int, heads: int) -> dict[str, Any]:
    """What PEFT shapes virtual tokens by."""
    return {
        "num_virtual_tokens": length,
        "token_dim": width,
        "num_attention_heads": heads,
        "num_layers": model.dims.layers,
        "num_transformer_submodules": 1,
    }


def expect_alone(held: Holding, model: Published) -> None:
    """Raises ConfigError where PEFT could not open virtual tokens again."""
    if held.own or model.task != DECODER:
        raise ConfigError("PEFT has virtual tokens in decoders only, and nothing else that trains beside them")
