"""Weights as whole numbers that are symmetric around zero, in the layout of compressed-tensors."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..core.errors import CheckpointError, ConfigError
from ..nn.storages import PublishedStorage, Stored
from .pieces import compute_dtype
from .scheme import Scheme
from .whole import GROUPS, Whole, around_zero, between_ends, narrow, rounded, unpacked_zeros
from .widths import WIDTHS


class Integers(PublishedStorage, ABC):
    """A storage of whole numbers of ``width`` bits.

    ``group`` weights of a row share a scale, or all of it where there is none. ``largest`` is what the largest of them
    becomes before it is rounded; with ``zero``, steps go from the least to the largest instead, and each group says
    which number is 0. ``compute`` is the dtype of products, else autocast's.
    """

    name: ClassVar[str]
    width: ClassVar[int]
    largest: ClassVar[float]
    tokens: ClassVar[bool] = False
    kind: ClassVar[type[Whole]] = Whole
    beside = ("weight_packed", "weight_scale", "weight_shape", "weight_zero_point")
    upright = True

    def __init__(self, *, group: int | None = None, zero: bool = False, compute: str | None = None) -> None:
        if group is not None and group not in GROUPS:
            known = ", ".join(map(str, GROUPS))
            raise ConfigError(f"storage {self.name}: group is one of {known}, or none for whole rows; found {group}")
        self.group, self.zero, self.compute = group, zero, compute_dtype(compute)
        self.bits = self.width + ((24 if zero else 16) / group if group else 0.0)

    @torch.no_grad()
    def keep(self, weight: Tensor, bias: Tensor | None, axes: tuple[str, str]) -> Whole:
        grid = between_ends if self.zero else around_zero(self.largest)
        kept = rounded(weight, WIDTHS[self.width], grid, self.group)
        return self._map(kept, (weight.shape[0], weight.shape[1]), bias, axes, self.group)

    def restore(self, tensors: dict[str, Tensor], bias: Tensor | None, axes: tuple[str, str]) -> Whole:
        try:
            kept, inp = self._read(tensors)
            scale = tensors["weight_scale"].view(len(kept), -1)
            zero = self._zeros(tensors, scale) if self.zero else {}
            group = None if scale.shape[1] == 1 else inp // scale.shape[1]
            if group and inp % scale.shape[1]:
                raise ValueError(f"{scale.shape[1]} groups in rows of {inp}")
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"the tensors of a weight kept as {self.name} do not fit together ({error!r}); fetch the files again"
            ) from None
        return self._map({"weight": kept, "scale": narrow(scale), **zero}, (len(kept), inp), bias, axes, group)

    def _read(self, tensors: dict[str, Tensor]) -> tuple[Tensor, int]:
        """What is kept of the numbers in published tensors, and the length of a row; raises KeyError or ValueError."""
        if "weight" in tensors:
            numbers = tensors["weight"]
            if numbers.dtype != torch.int8:
                raise ValueError(f"numbers of {numbers.dtype}")
            return WIDTHS[self.width].pack(numbers).contiguous(), numbers.shape[1]
        words, (out, inp) = tensors["weight_packed"].contiguous(), tensors["weight_shape"].tolist()
        if words.dtype != torch.int32 or words.shape != (out, -(-inp * self.width // 32)):
            raise ValueError(f"words of {words.dtype} and shape {list(words.shape)} for a weight of {[out, inp]}")
        return WIDTHS[self.width].of_words(words, inp).contiguous(), inp

    def _zeros(self, tensors: dict[str, Tensor], scale: Tensor) -> dict[str, Tensor]:
        zero = tensors["weight_zero_point"]
        if zero.dtype == torch.int32:
            zero = unpacked_zeros(zero.view(-1, scale.shape[1]), len(scale), WIDTHS[self.width])
        if zero.dtype != torch.int8 or zero.shape != scale.shape:
            raise ValueError(f"zeros of {zero.dtype} and shape {list(zero.shape)} for scales of {list(scale.shape)}")
        return {"zero": zero}

    def of_rows(self, rows: dict[str, Tensor], bias: Tensor | None, like: Stored) -> Whole:
        assert isinstance(like, Whole)
        kept = {name: tensor.contiguous() for name, tensor in rows.items()}
        return self._map(kept, (len(kept["weight"]), like.in_features), bias, like.axes, like.group)

    def _map(
        self, kept: dict[str, Tensor], shape: tuple[int, int], bias: Tensor | None, axes: tuple[str, str],
        group: int | None,
    ) -> Whole:  # fmt: skip
        width = WIDTHS[self.width]
        return self.kind(self, self.name, width, kept, shape, bias, axes, group=group, compute=self.compute)

    def published(self, dtype: torch.dtype, plain: Sequence[str] = ()) -> dict[str, Any]:
        return Scheme(self.width, self.group, self.tokens, self.zero).write(plain)

    @classmethod
    def of_published(cls, config: dict[str, Any]) -> Self | None:
        scheme = Scheme.read(config)
        fits = scheme and scheme.bits == cls.width and not scheme.tokens
        return cls(group=scheme.group, zero=scheme.zero) if scheme and fits else None
