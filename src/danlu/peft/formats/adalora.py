"""AdaLoRA's folders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...core.errors import CheckpointError, ConfigError
from ...core.spec import Spec
from .. import Adapter
from ..adalora import AdaLora
from . import FORMATS, Format, Holding, Opened, Tensors, parameters_of
from .fields import Fields
from .published import Held, Published

GUARD = 1e-5
"""PEFT divides by the rank and this."""
PARTS = {"left": "lora_B", "values": "lora_E", "right": "lora_A"}
"""P, Λ and Q in the words of PEFT."""


@FORMATS.add("adalora")
class AdaLoraFormat(Format):
    """Triplets of a singular value and its vectors; masked ones, which PEFT leaves out, have the value zero.

    theirs = α/(r + 1e-5) · B E A, where E is that much larger than Λ. How important triplets were is not in the files.
    Raises: CheckpointError for tensors that do not fit; ConfigError if a published map holds several of ours.
    Source: Zhang et al. 2023, arXiv:2303.10512, eq. 3; the files that peft 0.21 writes.
    Truth:  tests/parity/test_peft_folders.py (logits of peft with the same folder, both ways).
    """

    methods: ClassVar[tuple[str, ...]] = ("adalora",)

    def read(self, fields: Fields, tensors: Mapping[str, Tensor], model: Published) -> Opened:
        initial, last = fields.take("init_r", 12), fields.take("target_r", 8)
        alpha, betas = fields.take("lora_alpha", 8.0), [fields.take("beta1", 0.85), fields.take("beta2", 0.85)]
        interval, kept = max(fields.take("deltaT", 1), 1), fields.take("rank_pattern", {})
        for key in ("r", "lora_dropout", "tinit", "tfinal", "total_step", "orth_reg_weight", "init_lora_weights"):
            fields.take(key, None)  # of training, whose steps are over
        if alphas := fields.take("alpha_pattern", {}):
            raise fields.refusal("alpha_pattern", f"one strength acts everywhere, and {min(alphas)} has its own")
        rest, own = model.split(tensors)
        modules = [name.removesuffix(".lora_E") for name in rest if name.endswith(".lora_E")]
        used = {f"{module}.{part}" for module in modules for part in PARTS.values()}
        fields.expect_used(rest.keys() - used, modules, "AdaLoRA")
        state, places = parameters_of(own), []
        for module in modules:
            mask = torch.tensor(kept.get(f"{module}.lora_E", [True] * initial))
            found = _ours(model.mapped(module), rest, module, mask, fields.where)
            places += found
            state |= {f"{place}.deltas.{key}": tensor for place, part in found.items() for key, tensor in part.items()}
        settings = {"rank": min(last, initial), "initial": initial, "alpha": alpha, "at": model.pattern(places)}
        return Opened(Spec("adalora", {**settings, "betas": betas, "interval": interval}), state, list(own))

    def write(self, adapter: Adapter, held: Holding, model: Published) -> tuple[dict[str, Any], Tensors]:
        assert isinstance(adapter, AdaLora)
        state = held.state
        places = [name.removesuffix(".deltas.values") for name in state if name.endswith(".deltas.values")]
        theirs = {one.name: one.ours[0] for one in model.holding(places) if len(one.ours) == 1}
        if len(theirs) < len(places):
            raise ConfigError("the published model holds several linear maps in one, which have no triplets in common")
        modules, tensors = model.saved(held.own, theirs)
        for name, place in theirs.items():
            left, values, right = (state[f"{place}.deltas.{part}"] for part in PARTS)
            grown = values[:, None] * ((adapter.initial + GUARD) / adapter.initial)
            tensors |= {f"{name}.lora_A": right, f"{name}.lora_E": grown, f"{name}.lora_B": left}
        config = {
            "init_r": adapter.initial,
            "target_r": adapter.rank,
            "lora_alpha": adapter.alpha,
            "beta1": adapter.betas[0],
            "beta2": adapter.betas[1],
            "deltaT": adapter.interval,
            "total_step": 1,
            "fan_in_fan_out": model.transposed,
            "target_modules": model.targets(list(theirs)),
            "modules_to_save": modules or None,
        }
        return config, tensors


def _ours(held: Held, tensors: Mapping[str, Tensor], module: str, mask: Tensor, where: str) -> dict[str, Tensors]:
    """The tensors of each of our maps, left-out triplets in their places, with nothing remembered of importance."""
    up, values, down = (tensors.get(f"{module}.{part}") for part in PARTS.values())
    if up is None or values is None or down is None or not (up.shape[1] == len(values) == len(down)):
        raise CheckpointError(f"{where}: the tensors of {module} are not all there, or of several ranks")
    if len(values) not in (int(mask.sum()), len(mask)):
        raise CheckpointError(f"{where}: rank_pattern keeps {int(mask.sum())} triplets of {module}, not {len(values)}")
    chosen = mask if len(values) < len(mask) else torch.ones_like(mask)
    rank = len(mask)
    right, sizes = down.new_zeros(rank, down.shape[1]), values.new_zeros(rank)
    right[chosen], sizes[chosen] = down, values.flatten() * (rank / (rank + GUARD))
    found: dict[str, Tensors] = {}
    for name, rows in held.pieces(up).items():
        left = rows.new_zeros(len(rows), rank)
        left[:, chosen] = rows
        parts = {"left": left, "values": sizes.clone(), "right": right.clone()}
        beside = {
            f"{n}_{kind}": torch.zeros_like(t) for n, t in parts.items() for kind in ("importance", "uncertainty")
        }
        found[name] = {**parts, **beside, "kept": mask.clone()}
    return found
