"""Weights in 4 bits: which of 16 values each is nearest to, once divided by the largest of its block."""

from __future__ import annotations

import json
import math
from abc import ABC
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ..core.errors import CheckpointError, ConfigError
from ..nn.storages import PublishedStorage, Stored
from .bitsandbytes import described
from .dynamic import dynamic, encode
from .packed import GROUP, Packed, pack
from .pieces import COMPUTE, compute_dtype, dtype_name

BLOCKS = (32, 64, 128, 256, 512, 1024, 2048, 4096)


class FourBit(PublishedStorage, ABC):
    """A storage of 4 bits. ``code`` are its 16 values, by the number that stands for each.

    ``block`` weights share a constant, the largest of them; ``double`` keeps the constants in 8 bits, less their mean
    and in groups of 256 that share one. ``compute`` is the dtype of products, else autocast's.
    """

    name: ClassVar[str]
    code: ClassVar[tuple[float, ...]]

    def __init__(self, *, block: int = 64, double: bool = True, compute: str | None = None) -> None:
        if block not in BLOCKS:
            raise ConfigError(f"storage {self.name}: block is one of {', '.join(map(str, BLOCKS))}, found {block}")
        self.block, self.double, self.compute = block, double, compute_dtype(compute)
        self.bits = 4 + (8 + 32 / GROUP if double else 32) / block
        self.state = f"weight.quant_state.bitsandbytes__{self.name}"
        stats = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")
        self.beside = (*(f"weight.{name}" for name in stats), self.state)

    @torch.no_grad()
    def keep(self, weight: Tensor, bias: Tensor | None, axes: tuple[str, str]) -> Packed:
        packed, absmax = pack(weight.reshape(-1), self.code, self.block)
        kept = {"packed": packed, "absmax": absmax}
        if self.double:
            code, offset = torch.tensor(dynamic(), device=weight.device), absmax.mean()
            kept["absmax"], kept["nested_absmax"] = encode(absmax - offset, code, GROUP)
            kept |= {"nested_code": code, "offset": offset}
        return self._map(kept, (weight.shape[0], weight.shape[1]), bias, axes, self.block, weight.dtype)

    def restore(self, tensors: dict[str, Tensor], bias: Tensor | None, axes: tuple[str, str]) -> Packed:
        try:
            said = json.loads(bytes(tensors[self.state].tolist()))
            out, inp = said["shape"]
            kept = _kept(tensors, said, math.ceil(out * inp / 2), math.ceil(out * inp / said["blocksize"]))
            dtype = {str(kind): kind for kind in COMPUTE.values()}[f"torch.{said['dtype']}"]
            return self._map(kept, (out, inp), bias, axes, said["blocksize"], dtype)
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the tensors of a weight kept as {self.name} do not fit together ({error!r}); fetch the files again"
            ) from None

    def of_rows(self, rows: dict[str, Tensor], bias: Tensor | None, like: Stored) -> Packed:
        assert isinstance(like, Packed)
        kept = {"packed": rows["packed"].reshape(-1, 1), "absmax": rows["absmax"].flatten()}
        return self._map(kept, (len(rows["packed"]), like.in_features), bias, like.axes, like.block, like.dtype)

    def _map(
        self, kept: dict[str, Tensor], shape: tuple[int, int], bias: Tensor | None, axes: tuple[str, str], block: int,
        dtype: torch.dtype,
    ) -> Packed:  # fmt: skip
        settings = {"block": block, "dtype": dtype, "compute": self.compute}
        return Packed(self, self.name, self.code, shape, bias, axes, kept, **settings)

    def published(self, dtype: torch.dtype, plain: Sequence[str] = ()) -> dict[str, Any]:
        settings = {
            "bnb_4bit_quant_type": self.name,
            "bnb_4bit_use_double_quant": self.double,
            "bnb_4bit_compute_dtype": str(self.compute or dtype).removeprefix("torch."),
            "bnb_4bit_quant_storage": "uint8",
        }
        return described(4, plain, **settings)

    @classmethod
    def of_published(cls, config: dict[str, Any]) -> Self | None:
        if not config.get("load_in_4bit") or config.get("bnb_4bit_quant_type", "fp4") != cls.name:
            return None
        compute = dtype_name(config.get("bnb_4bit_compute_dtype"))
        double = bool(config.get("bnb_4bit_use_double_quant"))
        return cls(double=double, compute=None if compute == "fp32" else compute)


def _kept(tensors: dict[str, Tensor], said: dict[str, Any], size: int, constants: int) -> dict[str, Tensor]:
    """The published tensors under our names; raises KeyError or ValueError for what is missing or of another size."""
    packed = tensors["weight"].contiguous().view(torch.uint8).view(-1, 1)  # bytes, whatever they are published as
    kept, sizes = {"packed": packed, "absmax": tensors["weight.absmax"]}, {"packed": size, "absmax": constants}
    if "nested_offset" in said:
        kept |= {"nested_absmax": tensors["weight.nested_absmax"], "nested_code": tensors["weight.nested_quant_map"]}
        kept["offset"] = torch.tensor(float(said["nested_offset"]), device=packed.device)
        sizes |= {"nested_absmax": math.ceil(constants / GROUP), "nested_code": 256}
    for name, expected in sizes.items():
        if kept[name].numel() != expected:
            raise ValueError(f"{name} has {kept[name].numel()} numbers instead of {expected}")
    if said.get("nested_blocksize", GROUP) != GROUP:
        raise ValueError(f"groups of {said['nested_blocksize']} constants")
    return kept
