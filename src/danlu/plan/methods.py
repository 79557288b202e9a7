"""Names of ways to fine-tune, as the field says them."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import unknown
from ..core.spec import Spec
from ..nn.storages import STORAGES
from ..peft import ADAPTERS


@dataclass(frozen=True)
class Method:
    """What trains, None for everything, and how the frozen weights are kept, None for as they are."""

    adapter: Spec | None = None
    storage: Spec | None = None


COMBINED = {
    "full": Method(),
    "qlora": Method(Spec("lora"), Spec("nf4", {"double": True})),
}
"""Names that are more than an adapter's. QLoRA: Dettmers et al. 2023, arXiv:2305.14314."""


def methods() -> dict[str, Method]:
    """Every name: each adapter there is, and those whose storage is there."""
    found = {name: way for name, way in COMBINED.items() if way.storage is None or way.storage.use in set(STORAGES)}
    return {**{name: Method(Spec(name)) for name in ADAPTERS}, **found}


def method(name: str) -> Method:
    """The way of that name; raises ConfigError listing the known ones."""
    known = methods()
    if name not in known:
        raise unknown("method", name, list(known), where="--method")
    return known[name]
