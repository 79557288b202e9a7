"""Weights kept in fewer bits: in files as other libraries lay them out, and quantized one by one as they are read."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import CheckpointError, ConfigError
from ..core.files import read_json
from ..nn.linear import Linear, Map
from ..nn.model import Model
from ..nn.sites import Adapted
from ..nn.storages import STORAGES, PublishedStorage, Storage, Stored, keepable, maps_of, replace
from .newborn import on_meta
from .recipe import Architecture
from .tensors import opened
from .weights import Entry, Slice, kept


def storage_in(raw: dict[str, Any]) -> PublishedStorage | None:
    """The storage that a config.json describes; None if it describes none, or one that is not built."""
    config = raw.get("quantization_config")
    known = [part for part in map(STORAGES.__getitem__, STORAGES) if issubclass(part, PublishedStorage)]
    found = (part.of_published(config) for part in known) if isinstance(config, dict) else ()
    return next((storage for storage in found if storage is not None), None)


def held_as(folder: Path, storage: Storage | None = None) -> PublishedStorage | None:
    """How the files of a directory keep weights, None if as they are: as ``storage`` says, where it is of that kind.

    Raises: ConfigError if it is of another: weights would be rounded twice.
    """
    held = storage_in(read_json(folder / "config.json", "the settings of the model"))
    if held is None or storage is None:
        return held
    if not isinstance(storage, type(held)):
        names = [STORAGES.name_of(one) for one in (held, storage)]
        raise ConfigError(
            f"{folder}: its weights are kept as {names[0]} already, and keeping them as {names[1]} would round them "
            "twice; strike storage, or take the directory that was not quantized"
        )
    return storage


def hollow(recipe: Architecture, dtype: torch.dtype, device: torch.device | str | None) -> Model:
    """A model with memory for all but the weights of the maps that a storage may keep."""
    model = on_meta(recipe).to(dtype)
    maps = {id(part) for part in keepable(model).values()}
    for module in reversed(list(model.modules())):  # whoever ties parameters comes after those that have them
        if id(module) not in maps:
            module.to_empty(device=device or "cpu", recurse=False)
        elif isinstance(module, Linear) and module.bias is not None:
            module.bias = nn.Parameter(torch.empty_like(module.bias, device=device or "cpu"))
    return model


class Keeper:
    """Gives maps their weights: those that wait for one (see ``hollow``), and those that are kept in a storage already.

    ``held`` is how the files keep weights, ``storage`` how the model is to keep those that are plain in the files.
    """

    def __init__(self, model: Model, held: PublishedStorage | None, storage: Storage | None) -> None:
        self.model, self.held, self.storage = model, held, storage
        self.waiting = {f"{n}.weight": part for n, part in maps_of(model).items() if part.weight.is_meta}
        self.maps: dict[str, Map] = {**self.waiting, **kept(model)}

    def shapes(self) -> dict[str, Tensor]:
        """What stands for the weights of these maps where shapes are compared."""
        return {n: torch.empty(m.out_features, m.in_features, device="meta") for n, m in self.maps.items()}

    def beside(self, name: str, files: Collection[str]) -> list[str]:
        """The tensors beside a weight's in the files, without which it cannot be read; none if it is plain."""
        names = [_beside(name, end) for end in (self.held.beside if self.held else ())]
        return [name for name in names if name in files]

    def fill(self, entry: Entry, parameters: Mapping[str, Tensor], pieces: Sequence[Tensor]) -> None:
        """Gives pieces, plain weights, to our tensors of an entry."""
        for name, target, piece in zip(entry.ours, entry.of(parameters), pieces, strict=True):
            part = self.maps.get(name)
            if part is None:
                target.copy_(piece)
            elif isinstance(part, Stored):
                part.take(part.storage.keep(piece.to(_device(part)), None, part.axes))
            elif self.storage is not None:
                weight = piece.to(device=self._device, dtype=target.dtype)
                self._put(name, self.storage.keep(weight, part.bias, part.axes))
            else:
                part.weight = nn.Parameter(torch.empty_like(target, device=self._device).copy_(piece))  # type: ignore

    def holds(self, name: str, files: Collection[str]) -> bool:
        """Whether the files hold a weight under a name, plain or in several tensors."""
        return name in files or bool(self.beside(name, files))

    def restore(self, entry: Entry, parameters: Mapping[str, Tensor], name: str, files: Mapping[str, Path]) -> None:
        """Gives a published weight that is kept in several tensors to our tensors of an entry."""
        assert self.held is not None
        tensors, beside = {}, self.beside(name, files)
        for tensor in [*beside, *({name} & files.keys())]:
            with opened(files[tensor]) as handle:
                tensors[_end(name, tensor)] = handle.get_tensor(tensor).to(self._device)
        targets = entry.of(parameters)
        try:
            whole = self.held.restore(tensors, None, self._axes(entry))
        except CheckpointError as error:
            raise CheckpointError(f"{files[beside[0]]}: {name!r}: {error}") from None
        expected = (sum(len(target) for target in targets), targets[0].shape[1])
        if (whole.out_features, whole.in_features) != expected:
            raise CheckpointError(
                f"{files[beside[0]]}: the tensor {name!r} holds a weight of shape "
                f"{[whole.out_features, whole.in_features]}, config.json asks for {list(expected)}; take the "
                "config.json and the weights from the same source"
            )
        for ours, target, part in zip(entry.ours, targets, _cut(whole, entry, targets), strict=True):
            self._give(ours, target, part)

    def _give(self, name: str, target: Tensor, part: Stored) -> None:
        old = self.maps.get(name)
        if old is None:
            target.copy_(part.dense())
        elif isinstance(old, Stored):
            old.take(part)
        else:
            part.axes, part.bias = old.axes, old.bias
            if part.bias is not None:
                part.bias.requires_grad_(False)
            self._put(name, part)

    def _put(self, name: str, made: Stored) -> None:
        """In the place of the map that waits under a name, and of those that share its weight."""
        weight = self.waiting[name].weight
        for other, part in self.waiting.items():
            if part.weight is weight:
                replace(self.model, other.removesuffix(".weight"), made)

    def _axes(self, entry: Entry) -> tuple[str, str]:
        part = self.maps.get(entry.ours[0])
        return part.axes if part else ("", "")

    @property
    def _device(self) -> torch.device:
        return next(p.device for p in self.model.parameters() if not p.is_meta)


def published(entry: Entry, maps: Mapping[str, Stored]) -> dict[str, Tensor] | None:
    """What a directory keeps for an entry, by the names of tensors; None if it is published as plain weights."""
    parts = [maps[name] for name in entry.ours if name in maps]
    ways = [way for part in parts if (way := _way(part))]
    if len(ways) < len(entry.ours):
        return None
    whole = parts[0]
    if len(parts) > 1:
        rows = [part.rows() for part in parts]
        joined = {key: _upright(entry).pack([row[key] for row in rows]) for key in rows[0]}
        whole = ways[0].of_rows(joined, None, whole)
    return {_beside(entry.name, end): tensor for end, tensor in whole.tensors().items()}


def described(model: Model, entries: Sequence[Entry], dtype: torch.dtype) -> dict[str, Any]:
    """``quantization_config`` of a model, under its name in config.json; {} if it has none.

    Raises: ConfigError if maps are kept in several ways.
    """
    maps = {name: part for name, part in kept(model).items() if _way(part)}
    if not maps:
        return {}
    plain = {entry.name.removesuffix(".weight") for entry in entries if not set(entry.ours) <= set(maps)}
    plain &= {entry.name.removesuffix(".weight") for entry in entries if _linear(model, entry)}
    said = [way.published(dtype, sorted(plain | {"lm_head"})) for part in maps.values() if (way := _way(part))]
    if any(one != said[0] for one in said):
        raise ConfigError(
            f"the model keeps its maps in several ways ({', '.join(sorted({m.name for m in maps.values()}))}), which "
            "config.json cannot say; keep all in one storage"
        )
    lying = [entry.name for entry in entries if entry.transposed and not maps.keys().isdisjoint(entry.ours)]
    if lying and any(way.upright for part in maps.values() if (way := _way(part))):
        logging.getLogger("danlu").warning(
            "transformers keeps %s as (in, out), which compressed-tensors does not know: danlu opens this directory, "
            "transformers fills it with random numbers; take nf4 or llm_int8 where it must open it", lying[0],
        )  # fmt: skip
    return {"quantization_config": said[0]}


def _linear(model: Model, entry: Entry) -> bool:
    """Whether an entry is the weight of linear maps, or of an expert, which is one where others publish it."""
    if isinstance(entry, Slice):
        return True
    place, _, leaf = entry.ours[0].rpartition(".")
    part = model.get_submodule(place)
    return leaf == "weight" and isinstance(part.origin if isinstance(part, Adapted) else part, (Linear, Stored))


def _cut(whole: Stored, entry: Entry, targets: Sequence[Tensor]) -> list[Stored]:
    way = _way(whole)
    if len(targets) == 1 or way is None:
        return [whole]
    sizes = [len(target) for target in targets]
    pieces = {key: _upright(entry).unpack(tensor, sizes) for key, tensor in whole.rows().items()}
    return [
        way.of_rows({key: part[i].contiguous() for key, part in pieces.items()}, None, whole) for i in range(len(sizes))
    ]


def _way(part: Stored) -> PublishedStorage | None:
    """How a map is kept, if directories can say so."""
    return part.storage if isinstance(part.storage, PublishedStorage) else None


def _upright(entry: Entry) -> Entry:
    """Quantized weights are (out, in) in files, even of families that publish (in, out)."""
    return dataclasses.replace(entry, transposed=False, lead=0)


def _beside(name: str, end: str) -> str:
    return name.removesuffix("weight") + end


def _end(name: str, other: str) -> str:
    return other.removeprefix(name.removesuffix("weight"))


def _device(part: Stored) -> torch.device:
    return next(part.buffers()).device
