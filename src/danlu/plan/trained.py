"""How many numbers a run trains, and where the rest is kept."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ..core import config
from ..models import on_meta
from ..nn.storages import STORAGES, maps_of
from ..peft.attached import attach
from .work import Work


@dataclass(frozen=True, kw_only=True)
class Trained:
    """``trains`` numbers have gradients and states, ``added`` of them are an adapter's; ``frozen`` have none, of which
    ``stored`` are kept at ``bits`` each."""

    trains: int
    added: int
    frozen: int
    stored: int = 0
    bits: float = 32


def trained(work: Work) -> Trained:
    """Exact by construction: the adapter is hung on the model itself, built without memory, and counted.

    Raises: ConfigError for an adapter that finds no place.
    Truth:  tests/truth/test_plan_request.py (LoRA of LLaMA-7B on q and v: 4,194,304).
    """
    parts = (work.recipe.write(), work.adapter, work.also_train, work.storage)
    key = json.dumps(config.write(parts), sort_keys=True, default=str)
    if key not in _counted:
        _counted[key] = _count(work)
    return _counted[key]


_counted: dict[str, Trained] = {}


def _count(work: Work) -> Trained:
    model = on_meta(work.recipe)
    base = sum(p.numel() for p in model.parameters())
    if work.adapter is None:
        return Trained(trains=base, added=0, frozen=0)
    stored = sum(p.weight.numel() for p in maps_of(model).values()) if work.storage else 0
    bits = work.storage.build(STORAGES, where="storage").bits if work.storage else 32
    attach(model, work.adapter, also=work.also_train, keep=False)
    trains = sum(p.numel() for p in model.parameters() if p.requires_grad)
    every = sum(p.numel() for p in model.parameters())
    return Trained(trains=trains, added=every - base, frozen=every - trains, stored=stored, bits=bits)
