"""What the published model of a family calls the parts of a model here: the value that folders of PEFT's need."""

from __future__ import annotations

from dataclasses import replace

from ..models.families import FAMILIES
from ..models.weights import ByHead, Entry
from ..nn.attention import Attends
from ..nn.model import Model
from ..nn.sites import own
from ..peft.formats.published import Held, Published
from ..peft.targets import linear_maps


def published(model: Model) -> Published | None:
    """Names of linear maps and tensors; None for a model that no other library opens."""
    family = FAMILIES[model.recipe.family].published
    if family.model_type == "danlu":
        return None
    maps, tensors = linear_maps(model), dict(own(model))
    entries = [entry for entry in family.names(model.recipe) if type(entry) in (Entry, ByHead) and not entry.lead]
    outputs = {name: part.out_features for name, part in maps.items()}
    rows = {name: len(tensor) for name, tensor in tensors.items() if tensor.dim()}
    held = [_map(entry, outputs) for entry in entries if all(_map_of(name) in maps for name in entry.ours)]
    tied = "lm_head" if "head" in maps and not any("head.weight" in entry.ours for entry in entries) else None
    if tied:
        held.append(_map(Entry("lm_head.weight", ("head.weight",)), outputs))
    return Published(
        maps=tuple(held),
        tensors=tuple(_held(entry, entry.name, entry.ours, rows) for entry in entries if rows.keys() >= {*entry.ours}),
        dims=model.dims,
        task=_task(model, family.architecture),
        transposed=any(entry.transposed for entry in entries),
        tied=tied,
        values=tensors,
        entrance="inputs",
        attentions=tuple(f"{name}.kv" for name, part in model.named_modules() if isinstance(part, Attends)),
    )


def _map(entry: Entry, outputs: dict[str, int]) -> Held:
    """Of a linear map whatever has its outputs first is cut and joined as its weight is."""
    ours = tuple(_map_of(name) for name in entry.ours)
    aliases = tuple(_map_of(name) for name in entry.aliases)
    return _held(replace(entry, transposed=False, aliases=aliases), _map_of(entry.name), ours, outputs)


def _held(entry: Entry, name: str, ours: tuple[str, ...], rows: dict[str, int]) -> Held:
    return Held(name, ours, tuple(rows[n] for n in ours), entry.pack, entry.unpack, entry.aliases)


def _map_of(tensor: str) -> str:
    """The map whose weight a tensor is; a name that no map has if it is another's."""
    return tensor.removesuffix(".weight") if tensor.endswith(".weight") else ""


def _task(model: Model, architecture: str) -> str | None:
    """PEFT's word for what the model is asked."""
    if model.begin is not None:
        return "SEQ_2_SEQ_LM"
    return None if model.foresees else "CAUSAL_LM"
