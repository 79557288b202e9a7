"""What may still be chosen, and how much of it: each filter changes the logits of a step, in the order of ``order``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from ...core.registry import Registry
from ...core.spec import Spec
from ..rows import Row


class Filter(ABC):
    """Changes logits (B, V), each row by itself and by its history; -inf drops a token.

    ``neutral`` is the value that changes nothing, ``strong`` one that shows and ``wrong`` some that are refused (for
    tests and tables). Filters of lower ``order`` act first, in transformers' order: docs/decoding.md has the table.
    Those that only ``shape`` the law a token is drawn from (temperature, top-k, …) always leave a token and are left
    out of greedy decoding; the others act always.
    """

    order: ClassVar[int]
    neutral: ClassVar[Any]
    strong: ClassVar[Any]
    wrong: ClassVar[tuple[Any, ...]]
    shapes: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, *, value: Any) -> None: ...

    @abstractmethod
    def __call__(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:  # (B, V) -> (B, V)
        """The logits that remain; what is given is not changed."""


FILTERS: Registry[type[Filter]] = Registry("filter", Filter, __name__)


def chain(values: Mapping[str, Any], *, greedy: bool = False) -> list[Filter]:
    """The filters of these values in the order they act, neutral ones left out; those that only shape, too, if greedy.

    Raises: ConfigError if a value is outside its filter's range.
    """
    parts = sorted(values, key=lambda name: FILTERS[name].order)
    built = [Spec(name, {"value": values[name]}).build(FILTERS, where=name) for name in parts]
    acting = [part for name, part in zip(parts, built, strict=True) if values[name] != FILTERS[name].neutral]
    return [part for part in acting if not (greedy and part.shapes)]
