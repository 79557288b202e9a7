"""LoRA's folders, with rsLoRA's and DoRA's."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.errors import CheckpointError, ConfigError
from ...core.spec import Spec
from .. import Adapter
from ..dora import Dora
from ..lora import Lora
from . import FORMATS, Format, Holding, Opened, Tensors, parameters_of
from .fields import Fields
from .published import Held, Published

BEGINNINGS = re.compile(r"pissa|olora|corda|loftq|lora_ga")
"""Ways to draw the first numbers that change the base too."""


@dataclass(frozen=True)
class Factors:
    """The numbers of one linear map: down (r, in), up (out, r), how strongly they act, and DoRA's magnitudes (out)."""

    down: Tensor
    up: Tensor
    scale: float
    magnitude: Tensor | None = None


@FORMATS.add("lora")
class LoraFormat(Format):
    """A product of two thin matrices a linear map, with ranks and strengths of its own where patterns say so.

    Where a published map holds several of ours, each of ours gets its A and the rows of B that are its own; the other
    way their A lie one below the other and their B on a diagonal, with α so that the scale stays. Maps of several ranks
    are all of the largest here, filled with zeros, and of one scale.
    Raises: CheckpointError for settings that change the result and are not served; ConfigError if PEFT has no words.
    Source: Hu et al. 2021, arXiv:2106.09685, §4.1; the files that peft 0.21 writes.
    Truth:  tests/parity/test_peft_folders.py (logits of peft with the same folder, both ways).
    """

    methods: ClassVar[tuple[str, ...]] = ("lora", "dora")

    # ── theirs to ours ───────────────────────────────────────────────────────────────────────────────────────────
    def read(self, fields: Fields, tensors: Mapping[str, Tensor], model: Published) -> Opened:
        if BEGINNINGS.match(str(fields.take("init_lora_weights", None))):
            raise fields.refusal("init_lora_weights", "it changed the base too; have PEFT convert it to plain LoRA")
        scaling = "root" if fields.take("use_rslora", False) else "rank"
        dropout = fields.take("lora_dropout", 0.0)
        rest, own = model.split(tensors)
        found = self._ours(self._factors(fields, rest, scaling), model)
        rank = max(len(factors.down) for factors in found.values())
        scale = next(iter(found.values())).scale
        state = parameters_of(own)
        for place, factors in found.items():
            state |= _state(place, factors, rank, scale)
        settings = {"rank": rank, "dropout": dropout, "at": model.pattern(found)}
        if fields.take("use_dora", False):
            return Opened(Spec("dora", {**settings, "alpha": scale * rank}), state, list(own))
        settings |= {"alpha": scale * _divisor(rank, scaling), "scaling": scaling}
        return Opened(Spec("lora", settings), state, list(own))

    def _factors(self, fields: Fields, tensors: Mapping[str, Tensor], scaling: str) -> dict[str, Factors]:
        """By the published name of the map."""
        alpha, alphas = fields.take("lora_alpha", 8.0), fields.take("alpha_pattern", {})
        for key, default in (("r", 8), ("rank_pattern", {})):
            fields.take(key, default)  # shapes tell them
        left, found = dict(tensors), {}
        for name in [name for name in tensors if name.endswith(".lora_A.weight")]:
            module = name.removesuffix(".lora_A.weight")
            down, up = left.pop(name), left.pop(f"{module}.lora_B.weight", None)
            if up is None or up.shape[1] != len(down):
                raise CheckpointError(f"{fields.where}: the tensors of {module} have no B, or one of another rank")
            strength = next((a for key, a in alphas.items() if re.match(rf"(.*\.)?({key})$", module)), alpha)
            magnitude = left.pop(f"{module}.lora_magnitude_vector", None)
            found[module] = Factors(down, up, strength / _divisor(len(down), scaling), magnitude)
        fields.expect_used(left, found, "low rank")
        return found

    def _ours(self, theirs: Mapping[str, Factors], model: Published) -> dict[str, Factors]:
        """By our name of the map: what one published map holds of several of ours is cut."""
        found: dict[str, Factors] = {}
        for module, factors in theirs.items():
            held = model.mapped(module)
            ups = held.pieces(factors.up)
            sizes = {} if factors.magnitude is None else held.pieces(factors.magnitude.flatten())
            found |= {n: replace(factors, up=ups[n], magnitude=sizes.get(n)) for n in held.ours}
        return found

    # ── ours to theirs ───────────────────────────────────────────────────────────────────────────────────────────
    def write(self, adapter: Adapter, held: Holding, model: Published) -> tuple[dict[str, Any], Tensors]:
        assert isinstance(adapter, (Lora, Dora))
        scaling = adapter.scaling if isinstance(adapter, Lora) else "rank"
        scale = adapter.alpha / _divisor(adapter.rank, scaling)
        ours = _taken(held.state, scale)
        theirs = {one.name: _joined(one, ours) for one in model.holding(ours)}
        modules, tensors = model.saved(held.own, theirs)
        for name, factors in theirs.items():
            tensors |= {f"{name}.lora_A.weight": factors.down, f"{name}.lora_B.weight": factors.up}
            if factors.magnitude is not None:
                tensors[f"{name}.lora_magnitude_vector"] = factors.magnitude
        ranks = {name: len(f.down) for name, f in theirs.items() if len(f.down) != adapter.rank}
        config = {
            "r": adapter.rank,
            "lora_alpha": adapter.alpha,
            "lora_dropout": adapter.dropout,
            "use_rslora": scaling == "root",
            "use_dora": isinstance(adapter, Dora),
            "bias": "none",
            "fan_in_fan_out": model.transposed,
            "target_modules": model.targets(list(theirs)),
            "modules_to_save": modules or None,
            "rank_pattern": ranks,
            "alpha_pattern": {name: scale * _divisor(rank, scaling) for name, rank in ranks.items()},
        }
        return config, tensors


def _divisor(rank: int, scaling: str) -> float:
    return math.sqrt(rank) if scaling == "root" else rank


def _state(place: str, factors: Factors, rank: int, scale: float) -> Tensors:
    """The tensors of a map under the names of its site, at this rank and this scale."""
    missing = rank - len(factors.down)
    up = factors.up if factors.scale == scale else factors.up * (factors.scale / scale)
    found = {"down.weight": F.pad(factors.down, (0, 0, 0, missing)), "up.weight": F.pad(up, (0, missing))}
    if factors.magnitude is not None:
        found["magnitude"] = factors.magnitude
    return {f"{place}.deltas.{key}": tensor for key, tensor in found.items()}


def _taken(state: Mapping[str, Tensor], scale: float) -> dict[str, Factors]:
    """Factors by our names of maps."""
    ours: dict[str, Factors] = {}
    for name in [name for name in state if name.endswith(".deltas.down.weight")]:
        site = name.removesuffix("down.weight")
        down, up, magnitude = state[name], state[f"{site}up.weight"], state.get(f"{site}magnitude")
        ours[site.removesuffix(".deltas.")] = Factors(down, up, scale, magnitude)
    return ours


def _joined(held: Held, ours: Mapping[str, Factors]) -> Factors:
    """One published map of ours: their A if they share it, else all of them with B on a diagonal."""
    given = [ours[name] for name in held.ours if name in ours]
    magnitudes = [factors.magnitude for factors in given if factors.magnitude is not None]
    whole = len(given) == len(held.ours)
    if magnitudes and not whole:
        raise ConfigError(f"DoRA adapts {held.name} as a whole, and here only a part of it is adapted")
    magnitude = held.pack(magnitudes) if magnitudes else None
    if whole and all(factors.down.equal(given[0].down) for factors in given):
        return replace(given[0], up=held.pack([factors.up for factors in given]), magnitude=magnitude)
    down = torch.cat([factors.down for factors in given])
    return Factors(down, held.pack(_diagonal(held, ours, len(down))), given[0].scale, magnitude)


def _diagonal(held: Held, ours: Mapping[str, Factors], width: int) -> Sequence[Tensor]:
    """B of each map that lies in the published one, in columns of its own; zeros for those that are not adapted."""
    blocks, at = [], 0
    for name, size in zip(held.ours, held.sizes, strict=True):
        block = next(iter(ours.values())).up.new_zeros(size, width)
        if name in ours:
            up = ours[name].up
            block[:, at : at + up.shape[1]] = up
            at += up.shape[1]
        blocks.append(block)
    return blocks
