"""An adapter folded into the weights it acts on."""

from __future__ import annotations

from typing import cast

import torch

from ..core.errors import ConfigError
from ..nn.model import Model
from ..nn.sites import Adapted, Delta
from ..nn.storages import Stored
from .writing import attached_as


@torch.no_grad()
def merge(model: Model, *, dequantize: bool = False) -> Model:
    """A model that answers by itself what it answered with the adapters that act; adapters are gone afterwards.

    ``dequantize`` makes full weights of those kept in a storage first; without it, such weights are refused, because
    quantizing a merged weight again would round the adapter away.
    Raises: ConfigError for an adapter that no weights can answer like, or for weights kept in a storage.
    """
    active = model.switch.active if model.switch else ()
    for name in active:
        adapter = attached_as(model, name).adapter
        if not adapter.merges:
            kind = type(adapter).__name__
            raise ConfigError(
                f"the adapter {name!r} ({kind}) acts on activations, which no weight can do; keep it beside"
            )
    for place, part in list(model.named_modules()):
        if isinstance(part, Adapted):
            parent, _, leaf = place.rpartition(".")
            setattr(model.get_submodule(parent), leaf, _merged(part, dequantize=dequantize))
    model.switch = None
    return model


def _merged(part: Adapted, *, dequantize: bool) -> torch.nn.Module:
    acting = cast("list[Delta]", part.deltas.acting())
    if not acting:
        return part.origin
    origin = part.origin
    if isinstance(origin, Stored) and dequantize:
        origin = origin.linear()
    weight, bias = origin.dense(), origin.bias
    for delta in acting:
        weight, bias = delta.merged(weight, bias)
    origin.put(weight, bias)
    return origin
