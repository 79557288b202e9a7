"""Every cache with the settings that it cannot do without, for tests that hold all of them."""

from __future__ import annotations

import inspect
from typing import Any

from danlu.core.spec import Spec, settings_of
from danlu.nn.caches import CACHES, KvCache
from danlu.nn.dims import Dims

SETTINGS = {"window": 200}


def part(name: str) -> dict[str, Any]:
    needed = [n for n, p in settings_of(CACHES[name]).items() if p.default is inspect.Parameter.empty]
    return {"use": name, **{setting: SETTINGS[setting] for setting in needed}}


def store(name: str, dims: Dims, rows: int, capacity: int, *placed: Any) -> KvCache:
    return Spec.read(part(name)).build(CACHES, dims, rows, capacity, *placed)


EXACT = [name for name in CACHES if CACHES[name].exact]
