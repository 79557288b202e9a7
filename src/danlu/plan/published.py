"""The field's rules of thumb, to be printed beside the exact figures and never instead of them."""

from __future__ import annotations

from typing import Literal

from ..core.errors import ConfigError, unknown

Mode = Literal["none", "tp", "tp+sp", "tp+sp+selective", "full"]


def activation_bytes_per_layer(
    *, length: int, rows: int, model: int, heads: int, tensor: int = 1, mode: str = "none"
) -> float:
    """Activations of one GPT layer of Megatron: 16 bit, dropout masks kept, no fused attention, ffn = 4 · model.

    none: s·b·h·(34 + 5·a·s/h); tp: s·b·h·(10 + 24/t + 5·a·s/(h·t)); tp+sp: s·b·h/t·(34 + 5·a·s/h);
    tp+sp+selective: 34·s·b·h/t; full recomputation: 2·s·b·h. What danlu itself keeps is in ``saved.py``.

    Raises: ConfigError for a mode that the table does not have.
    Source: Korthikanti et al. 2022, arXiv:2205.05198, table 2.
    Truth:  tests/truth/test_plan_published.py (their 22B, 175B, 530B and 1T rows).
    """
    unit, scores = length * rows * model, 5 * heads * length / model
    table = {
        "none": 34 + scores,
        "tp": 10 + 24 / tensor + scores / tensor,
        "tp+sp": (34 + scores) / tensor,
        "tp+sp+selective": 34 / tensor,
        "full": 2.0,
    }
    if mode not in table:
        raise unknown("mode of recomputation", mode, list(table))
    return unit * table[mode]


def zero_bytes(params: float, ranks: int, stage: int, optimizer: float = 12) -> float:
    """Bytes of model states a rank under ZeRO with 2-byte weights and gradients.

    Stage 0: (4 + K)·N; 1: 4·N + K·N/d; 2: 2·N + (2 + K)·N/d; 3: (4 + K)·N/d.
    Raises: ConfigError for a stage that does not exist.
    Source: Rajbhandari et al. 2020, arXiv:1910.02054, fig. 1 and table 1.
    Truth:  tests/truth/test_plan_published.py (7.5B on 64 and 1T on 1,024 devices).
    """
    if stage not in range(4):
        raise ConfigError(f"ZeRO has the stages 0, 1, 2 and 3, found {stage}")
    whole = (4 + optimizer, 4, 2, 0)[stage]
    return params * (whole + (4 + optimizer - whole) / ranks)


def rules_of_thumb(params: float) -> dict[str, float]:
    """Bytes that the field quotes for a model of ``params`` parameters, by the sentence that quotes them.

    Source: Rajbhandari et al. 2020, §3.1 (16 bytes a parameter); Shoeybi et al.'s Megatron counts 18 to 20 with fp32
    gradients; 4 and 2 bytes a parameter for weights alone are the size of the numbers.
    Truth:  tests/truth/test_plan_published.py (GPT-2 1.5B: at least 24 GB).
    """
    return {
        "full fine-tuning, 16 bytes a parameter": 16 * params,
        "full fine-tuning, 20 bytes a parameter": 20 * params,
        "inference fp32, 4 bytes a parameter": 4 * params,
        "inference 16 bit, 2 bytes a parameter": 2 * params,
    }
