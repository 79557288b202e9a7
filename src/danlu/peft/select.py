"""Training what is named: blocks, maps, heads, rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..core.errors import ConfigError
from ..nn.model import Model
from . import ADAPTERS, Tending
from .choosing import Choosing, named
from .masked import Masking, Masks, hang, masks_of
from .targets import Pattern
from .units import Groups, Unit, unit_of


@ADAPTERS.add("select")
class Select(Choosing):
    """Trains the parameters that are named: whole ones, or some of their rows or heads.

    W_i ← W_i + ΔW_i for the rows, heads or all of what ``at`` names (``blocks.{10,11}.*``, ``norm``); ``rows`` lists
    rows of maps with their biases, ``heads`` those of attention: rows of q, k, v and columns of o. All others stay as
    they are bit by bit.

    Raises: ConfigError if ``at`` names nothing, or there is no such row or head.
    Source: Lee et al. 2019, arXiv:1911.03090, §3 (blocks); Guo et al. 2020, arXiv:2012.07463 (structured groups).
    Truth:  tests/truth/test_peft_choosing.py (counts in closed form; all else equal bit by bit after AdamW).
    """

    example: ClassVar[dict[str, Any]] = {"heads": [1]}

    def __init__(
        self, *, at: Pattern = "blocks.*.{q,v}", rows: Sequence[int] | None = None, heads: Sequence[int] | None = None
    ) -> None:
        if rows is not None and heads is not None:
            raise ConfigError("adapter select: give rows or heads, not both; or neither for whole parameters")
        self.at, self.unit, self.index = at, "row" if heads is None else "head", heads if rows is None else rows

    def chosen(self, model: Model) -> dict[str, nn.Parameter]:
        found = named(model, self.at)
        if self.index is None:
            return found
        unit = unit_of(self.unit, model)
        return {name: p for name, p in found.items() if unit.groups(name, p)}

    def place(self, model: Model, name: str) -> None:
        super().place(model, name)
        if self.index is not None:
            unit = unit_of(self.unit, model)
            masks = {n: self._mask(unit, n, p) for n, p in self.chosen(model).items()}
            hang(model, name, Masks(masks, saved=False))

    def tending(self, model: Model, name: str, steps: int) -> Tending:
        return Tending() if self.index is None else Masking(self.chosen(model), masks_of(model, name))

    def _mask(self, unit: Unit, name: str, parameter: Tensor) -> Tensor:
        groups, index = unit.groups(name, parameter), list(self.index or ())
        assert isinstance(groups, Groups)
        if not index or min(index) < 0 or max(index) >= groups.count:
            raise ConfigError(f"adapter select: {name} has {self.unit}s 0 to {groups.count - 1}, found {index}")
        wanted = torch.tensor(index, device=parameter.device)
        return (groups.ids[..., None] == wanted).any(-1).expand(parameter.shape).contiguous()
