"""How sublayers join the residual stream: a wired block knows the residual, its sublayers do not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from ...core.registry import Registry
from ..layout import Layout
from ..linear import Birth
from ..sites import Site


class Wiring(nn.Module, ABC):
    """One block: named sublayers, a norm for each, and the site "branch" where adapters act on a sublayer's output.

    ``norm`` makes a norm of the stream's width; ``layers`` is how many blocks the stack has.
    """

    final_norm: ClassVar[bool]
    """Whether the stack has to normalize what the last block leaves."""

    def __init__(
        self,
        sublayers: Mapping[str, nn.Module],
        norm: Callable[[], nn.Module],
        dropout: float = 0.0,
        layers: int = 1,
    ) -> None:
        super().__init__()
        self.sublayers = nn.ModuleDict(sublayers)
        self.norms = nn.ModuleDict({name: norm() for name in sublayers})
        self.branch = nn.ModuleDict({name: Site() for name in sublayers})
        self.dropout = dropout

    @abstractmethod
    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        """x: (B, T, M), the residual stream."""

    def run(self, name: str, x: Tensor, layout: Layout) -> Tensor:
        """What one sublayer and its adapters answer to x."""
        y = self.branch[name].changed(x, self.sublayers[name](x, layout))  # type: ignore[operator]
        return F.dropout(y, self.dropout, self.training) if self.dropout else y

    def born(self, birth: Birth) -> None:
        """Draws anew, after all parts are born, what this wiring wants otherwise; most want nothing."""


WIRINGS: Registry[type[Wiring]] = Registry("wiring", Wiring, __name__)
