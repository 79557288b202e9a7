"""What config.json says of weights that lie as compressed-tensors lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

PACKED, PLAIN = "pack-quantized", ("int-quantized", "naive-quantized")
UNKNOWN = ("transform_config", "kv_cache_scheme")
"""What else such a config may say, which is not built here; sparsity it may say where there is none."""


@dataclass(frozen=True)
class Scheme:
    """Whole numbers of ``bits``; ``group`` weights of a row share a scale, or the row where it is None.

    With ``tokens``, activations are rounded to 8 bits with one scale a token; with ``zero``, each scale has a number
    that stands for 0, which is 0 otherwise.
    """

    bits: int
    group: int | None
    tokens: bool = False
    zero: bool = False

    def write(self, plain: Sequence[str]) -> dict[str, Any]:
        """``quantization_config``; ``plain`` are the linear maps left as they are."""
        way = PLAIN[0] if self.tokens else PACKED
        group = {
            "targets": ["Linear"],
            "weights": _numbers(self.bits, "group" if self.group else "channel", self.group)
            | {"symmetric": not self.zero},
            "input_activations": _numbers(8, "token", None) | {"dynamic": True} if self.tokens else None,
            "output_activations": None,
            "format": way,
        }
        return {
            "quant_method": "compressed-tensors",
            "format": way,
            "quantization_status": "compressed",
            "config_groups": {"group_0": group},
            "ignore": list(plain),
        }

    @classmethod
    def read(cls, config: dict[str, Any]) -> Self | None:
        """The scheme that a ``quantization_config`` describes; None if it is another's, or another."""
        groups = config.get("config_groups")
        if config.get("quant_method") != "compressed-tensors" or any(config.get(key) for key in UNKNOWN):
            return None
        if not isinstance(groups, dict) or len(groups) != 1 or _sparse(config.get("sparsity_config")):
            return None
        (group,) = groups.values()
        if not isinstance(group, dict) or (group.get("format") or config.get("format")) not in (PACKED, *PLAIN):
            return None
        weights: Any = group.get("weights")
        read: Any = group.get("input_activations")
        if group.get("output_activations") or not _whole(weights, ("channel", "group")):
            return None
        if read and not (_whole(read, ("token",)) and read.get("symmetric", True) and _in_passing(read)):
            return None
        size = weights.get("group_size") if weights["strategy"] == "group" else None
        return cls(weights.get("num_bits", 8), size, bool(read), not weights.get("symmetric", True))


def _numbers(bits: int, strategy: str, group: int | None) -> dict[str, Any]:
    return {
        "num_bits": bits,
        "type": "int",
        "symmetric": True,
        "strategy": strategy,
        "group_size": group,
        "dynamic": False,
    }


def _sparse(said: Any) -> bool:
    """Whether weights are written without their zeros."""
    return bool(said) and not (isinstance(said, dict) and said.get("format", "dense") == "dense")


def _whole(numbers: Any, strategies: tuple[str, ...]) -> bool:
    """Whether these are whole numbers in the order of the row."""
    if not isinstance(numbers, dict) or numbers.get("type", "int") != "int":
        return False
    return numbers.get("strategy") in strategies and numbers.get("actorder") != "group"


def _in_passing(numbers: dict[str, Any]) -> bool:
    """Whether activations are rounded to 8 bits by scales that are found while running."""
    return numbers.get("dynamic") is True and numbers.get("num_bits", 8) == 8
