"""Products with many matrices at once: rows sorted by the matrix that they meet, without a loop over rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ..linear import Birth


class Stacked(nn.Module):
    """One linear map an expert, in one parameter (E, out, in) with axes = ("experts", out, in).

    Those of the experts ``frozen`` are in a second parameter that takes no gradient. ``met`` is the share of the
    experts that one token meets.
    """

    def __init__(
        self,
        experts: int,
        out: int,
        inp: int,
        *,
        axes: tuple[str, str],
        bias: bool = False,
        frozen: tuple[int, ...] = (),
        met: float = 1.0,
    ) -> None:
        super().__init__()
        self.axes, self.met = ("experts", *axes), met
        moving = [expert for expert in range(experts) if expert not in frozen]
        order = [*moving, *frozen]
        self.places = [order.index(expert) for expert in range(experts)]

        def held(number: int, *shape: int, learns: bool) -> nn.Parameter:
            return nn.Parameter(torch.zeros(number, *shape), requires_grad=learns)

        self.weight = held(len(moving), out, inp, learns=True)
        self.bias = held(len(moving), out, learns=True) if bias else None
        self.frozen = held(len(frozen), out, inp, learns=False) if frozen else None
        self.frozen_bias = held(len(frozen), out, learns=False) if frozen and bias else None

    def all(self) -> tuple[Tensor, Tensor | None]:
        """(E, out, in) and (E, out), in the order of the experts."""
        if self.frozen is None:
            return self.weight, self.bias
        bias = None if self.bias is None or self.frozen_bias is None else torch.cat([self.bias, self.frozen_bias])
        return torch.cat([self.weight, self.frozen])[self.places], None if bias is None else bias[self.places]

    def grouped(self, x: Tensor, groups: Groups) -> Tensor:
        """Each row by the map of its expert.  (S, in) → (S, out)."""
        weight, bias = self.all()
        y = grouped(x, weight, groups)
        return y if bias is None else y + bias[groups.experts].to(y.dtype)

    def alone(self, x: Tensor, expert: int) -> Tensor:
        """All rows by the map of one expert."""
        place, first = self.places[expert], len(self.weight)
        moves = place < first
        weight, bias = (self.weight, self.bias) if moves else (self.frozen, self.frozen_bias)
        at = place if moves else place - first
        y = torch.mm(x, weight[at].to(x.dtype).t())  # type: ignore[index]
        return y if bias is None else y + bias[at].to(y.dtype)

    def born(self, birth: Birth) -> None:
        """As a linear map: projections into the residual stream are drawn smaller, biases are zero."""
        std = birth.std / math.sqrt(2 * birth.layers) if self.axes[1] == "model" else birth.std
        for part in self.parameters():
            nn.init.normal_(part, std=std if part.ndim > 2 else 0.0, generator=birth.generator)


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows by expert. ``order``: (S,), which choice each row is; ``experts``: (S,), whose it is; ``ends``: int32 (E,),
    where each expert's rows end.

    Choices are numbered choice by choice: all first ones of N tokens, then all second ones.
    """

    order: Tensor
    experts: Tensor
    ends: Tensor

    @classmethod
    def of(cls, experts: Tensor, number: int, limit: Tensor | float | None, *, whole: bool) -> Groups:
        """From experts (N, k), where ``number`` stands for none; an expert takes its first ``limit`` choices.

        ``whole``: no choice is none, so that their number need not be asked of a tensor.
        """
        flat = experts.t().reshape(-1)
        if limit is not None:
            flat = _limited(flat, number, limit)
        ids, order = flat.sort(stable=True)
        ends = torch.searchsorted(ids, torch.arange(number, device=ids.device), right=True).to(torch.int32)
        served = len(order) if whole and limit is None else int(ends[-1])
        return cls(order[:served], ids[:served], ends)

    @cached_property
    def stops(self) -> list[int]:
        """``ends`` on the host."""
        return self.ends.tolist()

    def spans(self) -> list[tuple[int, int, int]]:
        """(expert, start, stop) of every expert that has rows."""
        return [(e, start, stop) for e, (start, stop) in enumerate(_spans(self.stops)) if start < stop]


def _limited(flat: Tensor, number: int, limit: Tensor | float) -> Tensor:
    """The same choices, none for those beyond the limit of their expert."""
    ids, order = flat.sort(stable=True)
    begins = torch.searchsorted(ids, torch.arange(number + 1, device=ids.device))
    rank = torch.arange(len(ids), device=ids.device) - begins[ids]
    return torch.empty_like(flat).scatter_(0, order, torch.where(rank < limit, ids, number))


def grouped(x: Tensor, weight: Tensor, groups: Groups) -> Tensor:
    """y_s = W_e x_s for each row s of expert e.  x: (S, in), sorted; weight: (E, out, in) → (S, out)."""
    weight = weight.to(x.dtype)
    if fused(x, weight):
        return F.grouped_mm(x, weight.mT, offs=groups.ends)
    return _Grouped.apply(x, weight, groups.stops)


def fused(x: Tensor, weight: Tensor) -> bool:
    """Whether torch's grouped product serves: bf16 on a GPU, with rows of whole 16 bytes; a host gains nothing."""
    return x.is_cuda and x.dtype == torch.bfloat16 and not any(size % 8 for size in weight.shape[1:])


class _Grouped(Function):
    """One product an expert, each written into its place; gradients too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stops: list[int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stops = stops
        out = x.new_empty(len(x), weight.shape[1])
        for expert, (start, stop) in enumerate(_spans(stops)):
            if start < stop:
                torch.mm(x[start:stop], weight[expert].t(), out=out[start:stop])
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        for_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        for_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        for expert, (start, stop) in enumerate(_spans(ctx.stops)):
            rows = grad[start:stop]
            if for_x is not None and start < stop:
                torch.mm(rows, weight[expert], out=for_x[start:stop])
            if for_weight is not None:
                torch.mm(rows.t(), x[start:stop], out=for_weight[expert])
        return for_x, for_weight, None


def _spans(stops: list[int]) -> zip[tuple[int, int]]:
    return zip([0, *stops[:-1]], stops, strict=True)
