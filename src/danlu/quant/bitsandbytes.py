"""What config.json says of weights that lie as bitsandbytes lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def described(bits: int, plain: Sequence[str], **more: Any) -> dict[str, Any]:
    """``quantization_config`` of weights in 4 or 8 bits; ``plain`` are the linear maps left as they are.

    The head is left without being named; where others are, it must be named too.
    """
    config = {"quant_method": "bitsandbytes", "load_in_4bit": bits == 4, "load_in_8bit": bits == 8, **more}
    return config | ({"llm_int8_skip_modules": list(plain)} if len(plain) > 1 else {})
