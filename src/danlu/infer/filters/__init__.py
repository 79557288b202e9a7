"""What may still be sampled: each filter changes the logits of a step; they act in the order of ``order``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from ...core.registry import Registry
from ...core.spec import Spec


class Filter(ABC):
    """Changes logits (B, V), each row by itself; -inf drops a token; the likeliest is never dropped.

    ``neutral`` is the value that changes nothing, ``strong`` one that shows (for tests and tables). Filters of lower
    ``order`` act first, as in transformers: temperature, top-k, top-p.
    """

    order: ClassVar[int]
    neutral: ClassVar[float]
    strong: ClassVar[float]

    @abstractmethod
    def __init__(self, *, value: float) -> None: ...

    @abstractmethod
    def __call__(self, logits: Tensor) -> Tensor:  # (B, V) -> (B, V)
        """The logits that remain."""


FILTERS: Registry[type[Filter]] = Registry("filter", Filter, __name__)


def chain(values: Mapping[str, float]) -> list[Filter]:
    """The filters of these values in the order they act, neutral ones left out.

    Raises: ConfigError if a value is outside its filter's range.
    """
    parts = sorted(values, key=lambda name: FILTERS[name].order)
    built = [Spec(name, {"value": values[name]}).build(FILTERS, where=name) for name in parts]
    return [part for name, part in zip(parts, built, strict=True) if values[name] != FILTERS[name].neutral]
