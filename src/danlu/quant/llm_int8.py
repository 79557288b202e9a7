"""Eight bits a weight, one scale an output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from ..core.errors import CheckpointError
from ..nn.storages import STORAGES, PublishedStorage, Stored
from .bitsandbytes import described
from .packed import LEAST
from .pieces import Pieced, compute_dtype

LARGEST = 127


@STORAGES.add("llm_int8")
class LlmInt8(PublishedStorage):
    """Keeps each weight as one of 255 equal steps up to the largest of its row.

    w ≈ q · s_o / 127,  s_o = max_i |w_oi|,  q = round(127 · w / s_o): 8 + 32 / in bits a parameter.
    Activations stay as they are. A published model is the layout of LLM.int8; libraries that quantize activations too
    answer nearly the same.
    Source: Dettmers et al. 2022, arXiv:2208.07339, §2.1 (absmax quantization, vector-wise).
    Truth:  tests/parity/test_bitsandbytes.py (bitsandbytes' numbers, scales and dequantized values, bit for bit).
    """

    bits = 8.0
    beside = ("SCB", "weight_format")

    def __init__(self, *, compute: str | None = None) -> None:
        self.compute = compute_dtype(compute)

    @torch.no_grad()
    def keep(self, weight: Tensor, bias: Tensor | None, axes: tuple[str, str]) -> Rows:
        numbers = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
        largest = weight.abs().amax(1).float()
        for some, scale, source in zip(numbers.split(ROWS), largest.split(ROWS), weight.split(ROWS), strict=True):
            some.copy_((source * (LARGEST / scale.clamp(min=LEAST))[:, None]).round_())
        return Rows(self, numbers, largest, bias, axes)

    def restore(self, tensors: dict[str, Tensor], bias: Tensor | None, axes: tuple[str, str]) -> Rows:
        weight, scale, form = tensors["weight"], tensors.get("SCB"), tensors.get("weight_format")
        if (
            scale is None
            or len(scale) != len(weight)
            or weight.dtype != torch.int8
            or (form is not None and form.any())
        ):
            raise CheckpointError(
                f"a weight kept as llm_int8 is {weight.dtype} of shape {list(weight.shape)} with scales (SCB) that do "
                "not fit it, or in another than row order; fetch the files again"
            )
        return Rows(self, weight, scale.float(), bias, axes)

    def of_rows(self, rows: dict[str, Tensor], bias: Tensor | None, like: Stored) -> Rows:
        return Rows(self, rows["weight"].contiguous(), rows["scale"].flatten().contiguous(), bias, like.axes)

    def published(self, dtype: torch.dtype, plain: Sequence[str] = ()) -> dict[str, Any]:
        return described(8, plain)

    @classmethod
    def of_published(cls, config: dict[str, Any]) -> Self | None:
        return cls() if config.get("load_in_8bit") else None


ROWS = 256


class Rows(Pieced):
    """w = number · scale of its row / 127.  weight: (out, in) int8, scale: (out,) fp32"""

    weight: Tensor
    scale: Tensor

    def __init__(
        self, storage: LlmInt8, weight: Tensor, scale: Tensor, bias: Tensor | None, axes: tuple[str, str]
    ) -> None:
        super().__init__(storage, (weight.shape[0], weight.shape[1]), bias, axes, storage.compute)
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)

    @property
    def name(self) -> str:
        return "llm_int8"

    def pieces(self, dtype: torch.dtype, room: int) -> Iterator[tuple[int, Tensor]]:
        step = max(room // self.in_features, 1)
        for number, (rows, scale) in enumerate(zip(self.weight.split(step), self.scale.split(step), strict=True)):
            yield number * step, rows.float().mul_(scale[:, None]).mul_(1 / LARGEST).to(dtype)

    def tensors(self) -> dict[str, Tensor]:
        return {"weight": self.weight, "SCB": self.scale, "weight_format": torch.zeros((), dtype=torch.uint8)}

    def rows(self) -> dict[str, Tensor]:
        return {"weight": self.weight, "scale": self.scale[:, None]}
