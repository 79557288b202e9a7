"""What may still be chosen, and how much of it: each filter changes the logits of a step, in the order of ``order``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from ...core.errors import ConfigError
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


class Share(Filter, ABC):
    """One whose value is the share p of the probability that is kept."""

    neutral = 1.0
    strong = 0.3
    wrong = (0.0, -0.5, 1.1, float("nan"))
    shapes = True

    def __init__(self, *, value: float) -> None:
        if not 0 < value <= 1:
            raise ConfigError(f"{FILTERS.name_of(self)} {value}: must lie within (0, 1]; 1 keeps all")
        self.value = value


class Cutoff(Filter, ABC):
    """One whose value ε is a probability under which tokens are dropped."""

    neutral = 0.0
    strong = 0.1
    wrong = (-0.5, 1.0, float("nan"))
    shapes = True

    def __init__(self, *, value: float) -> None:
        if not 0 <= value < 1:
            raise ConfigError(f"{FILTERS.name_of(self)} {value}: must lie within [0, 1); 0 keeps all")
        self.value = value


FILTERS: Registry[type[Filter]] = Registry("filter", Filter, __name__)


def chain(values: Mapping[str, Any], *, greedy: bool = False) -> list[Filter]:
    """The filters of these values in the order they act, neutral ones left out; those that only shape, too, if greedy.

    Raises: ConfigError if a value is outside its filter's range.
    """
    parts = sorted(values, key=lambda name: FILTERS[name].order)
    built = [Spec(name, {"value": values[name]}).build(FILTERS, where=name) for name in parts]
    acting = [part for name, part in zip(parts, built, strict=True) if values[name] != FILTERS[name].neutral]
    return [part for part in acting if not (greedy and part.shapes)]
