"""IA³'s folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from ...core.errors import ConfigError
from ...core.spec import Spec
from .. import Adapter
from ..ia3 import Ia3
from ..targets import Pattern, fits
from . import FORMATS, Format, Holding, Opened, Tensors, parameters_of
from .fields import Fields
from .published import Held, Published


@FORMATS.add("ia3")
class Ia3Format(Format):
    """Factors of what linear maps answer, (out, 1), or of what they read, (1, in).

    Raises: CheckpointError for tensors that do not fit; ConfigError if a part of a published map reads otherwise.
    Source: Liu et al. 2022, arXiv:2205.05638, §3.3; the files that peft 0.21 writes.
    Truth:  tests/parity/test_peft_folders.py (logits of peft with the same folder, both ways).
    """

    methods: ClassVar[tuple[str, ...]] = ("ia3",)

    def read(self, fields: Fields, tensors: Mapping[str, Tensor], model: Published) -> Opened:
        rest, own = model.split(tensors)
        modules = [name.removesuffix(".ia3_l") for name in rest if name.endswith(".ia3_l")]
        fields.expect_used(rest.keys() - {f"{module}.ia3_l" for module in modules}, modules, "IA3")
        state, outputs, inputs = parameters_of(own), [], []
        for module in modules:
            held, factors = model.mapped(module), rest[f"{module}.ia3_l"]
            reads = factors.shape[0] == 1
            flat = factors.flatten()
            pieces = dict.fromkeys(held.ours, flat) if reads else held.pieces(flat)
            (inputs if reads else outputs).extend(pieces)
            state |= {f"{place}.deltas.scale": piece.clone() for place, piece in pieces.items()}
        patterns = {"outputs": model.pattern(outputs), "inputs": model.pattern(inputs)}
        return Opened(Spec("ia3", patterns), state, list(own))

    def write(self, adapter: Adapter, held: Holding, model: Published) -> tuple[dict[str, Any], Tensors]:
        assert isinstance(adapter, Ia3)
        ours = {n.removesuffix(".deltas.scale"): t for n, t in held.state.items() if n.endswith(".deltas.scale")}
        theirs = model.holding(ours)
        inputs = {one.name for one in theirs if any(_means(adapter.inputs, name) for name in one.ours)}
        modules, tensors = model.saved(held.own, {one.name for one in theirs})
        for one in theirs:
            tensors[f"{one.name}.ia3_l"] = _read(one, ours) if one.name in inputs else _answered(one, ours)
        config = {
            "fan_in_fan_out": model.transposed,
            "target_modules": [one.name for one in theirs],
            "feedforward_modules": sorted(inputs),
            "modules_to_save": modules or None,
        }
        return config, tensors


def _means(pattern: Pattern, name: str) -> bool:
    return any(fits(name, one) for one in ([pattern] if isinstance(pattern, str) else pattern))


def _answered(held: Held, ours: Mapping[str, Tensor]) -> Tensor:
    """(out, 1), with ones where a part is not adapted."""
    other = next(iter(ours.values()))
    parts = [ours.get(n, other.new_ones(size)) for n, size in zip(held.ours, held.sizes, strict=True)]
    return held.pack(parts)[:, None]


def _read(held: Held, ours: Mapping[str, Tensor]) -> Tensor:
    """(1, in), which all parts have in common."""
    first = ours.get(held.ours[0])
    if first is None or not all(name in ours and ours[name].equal(first) for name in held.ours):
        raise ConfigError(f"PEFT stretches what {held.name} reads as a whole, and here its parts read otherwise")
    return first[None]
