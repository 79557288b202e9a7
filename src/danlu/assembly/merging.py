"""An adapter folded into the weights it acts on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from ..core.errors import CheckpointError, ConfigError
from ..core.files import expect_room
from ..models.hub import located
from ..models.reading import stored_dtype
from ..nn.linear import Map
from ..nn.model import Model
from ..nn.sites import Adapted, Delta, own
from ..nn.storages import Stored
from ..peft.attached import sites_of
from ..peft.targets import linear_maps
from .loading import adapter_folder, base_of, load
from .verifying import said
from .writing import attached_as, save

if TYPE_CHECKING:
    from ..tokenize import Tokenizer


@torch.no_grad()
def merge(model: Model, *, dequantize: bool = False) -> Model:
    """A model that answers by itself what it answered with the adapters that act; adapters are gone afterwards.

    ``dequantize`` makes full weights of all that are kept in a storage first; without it, such weights are refused,
    because quantizing a merged weight again would round the adapter away.
    Raises: ConfigError for an adapter that no weights can answer like, weights kept in a storage, or a weight that
    several places share; the model is then as it was.
    """
    adapted = {place: part for place, part in model.named_modules() if isinstance(part, Adapted)}
    _check(model, {place: part for place, part in adapted.items() if part.deltas.acting()}, dequantize=dequantize)
    maps = {place: _merged(part, dequantize=dequantize) for place, part in adapted.items()}
    maps |= {place: part for place, part in linear_maps(model).items() if place not in maps}
    for place, part in maps.items():
        parent, _, leaf = place.rpartition(".")
        full = part.linear() if dequantize and isinstance(part, Stored) else part
        setattr(model.get_submodule(parent), leaf, full)
    for _, site in sites_of(model):
        site.clear()
    model.switch = None
    return model


def _check(model: Model, acted: dict[str, Adapted], *, dequantize: bool) -> None:
    for name in model.switch.active if model.switch else ():
        if not attached_as(model, name).adapter.merges:
            kind = attached_as(model, name).spec.use
            raise ConfigError(
                f"the adapter {name!r} ({kind}) acts on activations, which no weight can do; keep it beside its base: "
                "danlu.load opens both"
            )
    places = Counter(id(tensor) for _, tensor in own(model))
    for place, part in acted.items():
        if isinstance(part.origin, Stored) and not dequantize:
            part.put(part.dense(), None)  # which refuses, and says how this is kept
        elif any(places[id(tensor)] > 1 for _, tensor in own(part.origin)):
            raise ConfigError(
                f"the weight of {place} is shared with other places, which would change with it; keep the adapter "
                "beside its base"
            )


def merge_folder(
    adapter: str | Path,
    out: str | Path,
    *,
    base: str | None = None,
    any_base: bool = False,
    dequantize: bool = False,
    dtype: torch.dtype | None = None,
    verify: str | None = None,
    overwrite: bool = False,
) -> Verdict | None:
    """The model directory of an adapter's folder merged into its base, which is read anew in full precision.

    Sums are rounded once, to ``dtype``, which is that of the base unless given. ``verify`` is a prompt on which the
    written model is compared with the adapted one.
    Raises: CheckpointError if there is no adapter, its base is missing or another, or what was written goes on with
    another text; ConfigError if it cannot merge.
    """
    if (folder := adapter_folder(adapter)) is None:
        raise CheckpointError(
            f"{adapter}: holds no adapter to merge; give the folder of a run with an adapter, or PEFT's"
        )
    expect_room(out, overwrite=overwrite)
    model, tokenizer = load(folder, base=base, any_base=any_base, dtype=torch.float32)
    kept = dtype or stored_dtype(located(base_of(folder, base).path))
    prompt = _prompt(model, tokenizer, verify) if verify is not None else []
    before = said(model, prompt, STEPS) if prompt else None
    merge(model, dequantize=dequantize).to(kept)
    save(model, tokenizer, out, overwrite=overwrite)
    if before is None:
        return None
    after = said(load(out, dtype=torch.float32)[0], prompt, STEPS)
    if before.tokens != after.tokens:
        raise CheckpointError(
            f"{out}: was written as {str(kept).removeprefix('torch.')}, but goes on with another text than the adapted "
            f"model (logits up to {before.apart(after):.2g} apart); merge with --dtype fp32, or keep the adapter beside"
        )
    return Verdict(before.apart(after), len(before.tokens))


STEPS = 32
"""Tokens that a merged model is asked for."""


@dataclass(frozen=True)
class Verdict:
    """How far the written logits are from those of the adapted model, whose text of so many steps is the same."""

    apart: float
    steps: int


def _prompt(model: Model, tokenizer: Tokenizer | None, text: str) -> list[int]:
    ids = tokenizer.encode(text) if tokenizer else list(range(min(8, model.dims.vocab)))
    if not ids:
        raise ConfigError("--verify: the prompt has no tokens; give it a word")
    return ids[: model.dims.context]


def _merged(part: Adapted, *, dequantize: bool) -> Map:
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
