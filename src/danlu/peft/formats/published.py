"""What the published model calls the parts of ours, as whoever knows the families tells it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from ...core.errors import CheckpointError, ConfigError
from ...nn.dims import Dims

TABLE = "embed.weight"
Joined = Callable[[Sequence[Tensor]], Tensor]
Cut = Callable[[Tensor, Sequence[int]], Sequence[Tensor]]


@dataclass(frozen=True)
class Held:
    """A linear map or a tensor of the published model: ours that lie in it along its first dimension, of ``sizes``.

    ``pack`` makes the published one of ours, ``unpack`` cuts it; of a linear map they are for (out, …), also where the
    published weight is (in, out).
    """

    name: str
    ours: tuple[str, ...]
    sizes: tuple[int, ...]
    pack: Joined
    unpack: Cut
    aliases: tuple[str, ...] = ()

    def pieces(self, tensor: Tensor) -> dict[str, Tensor]:
        """The published tensor cut into ours, by their names."""
        return dict(zip(self.ours, self.unpack(tensor, self.sizes), strict=True))


@dataclass(frozen=True)
class Published:
    """The published model: its linear ``maps`` and its ``tensors``; ``tied`` is the name of a head without its own.

    ``task`` is PEFT's word for what the model does, ``transposed`` says that weights lie as (in, out), ``values`` are
    our parameters by their names. ``entrance`` and ``attentions`` are our sites "embed" and, in order, "kv".
    """

    maps: tuple[Held, ...]
    tensors: tuple[Held, ...]
    dims: Dims
    task: str | None
    transposed: bool
    tied: str | None
    values: Mapping[str, Tensor]
    entrance: str
    attentions: tuple[str, ...]

    # ── from PEFT's names to ours ────────────────────────────────────────────────────────────────────────────────
    def split(self, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """What belongs to the method, and parameters of the model itself under our names."""
        known = {name: held for held in self.tensors for name in (held.name, *held.aliases)}
        rest = self._without_base(tensors)
        own: dict[str, Tensor] = {}
        for name in [name for name in rest if name in known]:
            own |= known[name].pieces(rest.pop(name))
        head = rest.pop(f"{self.tied}.weight", None)
        if self.tied and (head is not None or TABLE in own):
            table = own.get(TABLE)
            if table is None or head is None or not table.equal(head):
                raise CheckpointError(
                    "modules_to_save: its embedding and head were trained apart, but the base ties them; save the base "
                    "with tie_word_embeddings false and two tensors, and open the adapter on that"
                )
        return rest, own

    def _without_base(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """PEFT saves adapted heads beside their factors: what the base has as well is left out."""
        left: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            bare = name.replace(".base_layer.", ".")
            if bare == name or (mine := self._value(bare)) is None or not mine.equal(tensor.to(mine.dtype)):
                left[bare] = tensor
        return left

    def _value(self, name: str) -> Tensor | None:
        """The model's own tensor of a published name."""
        if self.tied and name == f"{self.tied}.weight":
            return self.values[TABLE]
        held = next((held for held in self.tensors if held.name == name), None)
        return held and held.pack([self.values[ours] for ours in held.ours])

    def mapped(self, module: str) -> Held:
        """The linear map of a name; raises CheckpointError if this model has none."""
        for held in self.maps:
            if module in (held.name, *held.aliases):
                return held
        raise CheckpointError(
            f"the adapter acts on {module!r}, which is no linear map of this model; take its own base"
        )

    def pattern(self, places: Iterable[str]) -> list[str]:
        """Our names of linear maps as patterns: one for all layers where all have it."""
        wanted, groups = set(places), {}
        for ours in (ours for held in self.maps for ours in held.ours):
            groups.setdefault(re.sub(r"\.\d+\.", ".*.", ours), []).append(ours)
        return [
            name
            for star, names in groups.items()
            for name in ([star] if wanted.issuperset(names) else [n for n in names if n in wanted])
        ]

    # ── from our names to PEFT's ─────────────────────────────────────────────────────────────────────────────────
    def holding(self, places: Collection[str]) -> list[Held]:
        """The linear maps that hold some of ours; raises ConfigError if one is in none."""
        if odd := set(places) - {name for held in self.maps for name in held.ours}:
            raise ConfigError(f"the published model has no linear map for {min(odd)}")
        return [held for held in self.maps if any(name in places for name in held.ours)]

    def targets(self, modules: Sequence[str]) -> list[str]:
        """``target_modules`` that mean these linear maps and no others: their last names, or else their whole ones."""
        leaves = {module.rpartition(".")[2] for module in modules}
        meant = {held.name for held in self.maps if held.name.rpartition(".")[2] in leaves}
        return sorted(leaves) if meant == set(modules) else list(modules)

    def saved(self, own: Mapping[str, Tensor], adapted: Collection[str] = ()) -> tuple[list[str], dict[str, Tensor]]:
        """``modules_to_save`` for parameters of the model itself, and their tensors; adapted maps save their base.

        Raises: ConfigError if they are not all of a module.
        """
        modules: dict[str, list[Held]] = {}
        for held in self.tensors:
            modules.setdefault(held.name.rpartition(".")[0], []).append(held)
        trained = {name: parts for name, parts in modules.items() if any(o in own for h in parts for o in h.ours)}
        for name, parts in trained.items():
            if not all(ours in own for held in parts for ours in held.ours):
                raise ConfigError(f"PEFT saves whole modules only, and of {name} not all was trained")
        saved = {
            f"{name}{'.base_layer' * (name in adapted)}.{h.name.rpartition('.')[2]}": h.pack([own[o] for o in h.ours])
            for name, parts in trained.items()
            for h in parts
        }
        if self.tied and (table := own.get(TABLE)) is not None:
            trained[self.tied], saved[f"{self.tied}.weight"] = [], table.clone()
        return [name for name in trained if name not in adapted], saved
