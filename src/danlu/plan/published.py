"""The field's closed forms and rules of thumb, to be printed beside the traced figures and never instead of them."""

from __future__ import annotations

from ..core.errors import ConfigError, unknown

CONVENTIONS: dict[str, tuple[float, float, float]] = {
    "paper": (2, 2, 12),  # half weights and gradients, fp32 weights and two states
    "deepspeed": (2, 4, 12),  # gradients summed in fp32: 18 bytes
    "megatron": (2, 4, 12),
    "distinct": (2, 2 + 4, 12),  # half gradients and their fp32 sum: 20 bytes
    "fp32": (4, 4, 8),
    "bf16": (2, 2, 4),  # everything in half, states too: 8 bytes
    "8-bit adam": (2, 2, 4 + 2),  # fp32 weights and two states of a byte
}
"""Bytes a parameter of weights, gradients and the optimizer (fp32 weights included), by the name of who counts so."""


def activation_bytes_per_layer(
    *, length: int, rows: int, model: int, heads: int, tensor: int = 1, mode: str = "none", ffn: int = 0
) -> float:
    """Activations of one GPT layer of Megatron: 16 bit, dropout masks kept, no fused attention.

    With s length, b rows, h model, a heads, t tensor and f ffn (4·h if 0), in units of s·b·h:
    none: 18 + 4·f/h + 5·a·s/h, which is 34 + 5·a·s/h for f = 4·h;  tp: 10 + (8 + 4·f/h)/t + 5·a·s/(h·t), which is
    10 + 24/t + …;  tp+sp: none / t;  with +selective the scores 5·a·s/h are computed again and not kept;
    full: 2, the input of the layer. What danlu itself keeps is traced: see ``docs/plan.md``.

    Raises: ConfigError for a mode that the table does not have, or sizes below 1.
    Source: Korthikanti et al. 2022, arXiv:2205.05198, table 2; f ≠ 4·h: Megatron-LM's theoretical_memory_usage.
    Truth:  tests/truth/test_plan_published.py (their 22B, 175B, 530B and 1T rows).
    """
    if min(length, rows, model, heads, tensor) < 1:
        raise ConfigError("activations: length, rows, model, heads and tensor must be at least 1")
    unit, scores, wide = length * rows * model, 5 * heads * length / model, 4 * (ffn or 4 * model) / model
    table = {
        "none": 18 + wide + scores,
        "selective": 18 + wide,
        "tp": 10 + (8 + wide + scores) / tensor,
        "tp+selective": 10 + (8 + wide) / tensor,
        "tp+sp": (18 + wide + scores) / tensor,
        "tp+sp+selective": (18 + wide) / tensor,
        "full": 2.0,
    }
    if mode not in table:
        raise unknown("mode of recomputation", mode, list(table))
    return unit * table[mode]


def score_share(*, length: int, model: int, heads: int) -> float:
    """The share of a layer's activations that selective recomputation saves: 5·a·s/h of 34 + 5·a·s/h.

    Source: Korthikanti et al. 2022, arXiv:2205.05198, §5 (70 % for GPT-3, 65 % for MT-NLG).
    Truth:  tests/truth/test_plan_cases.py.
    """
    scores = 5 * heads * length / model
    return scores / (34 + scores)


def zero_bytes(
    params: float, ranks: int, stage: int, optimizer: float = 12, *, weights: float = 2, gradients: float = 2
) -> float:
    """Bytes of model states a rank under ZeRO: what the stage shards is divided by d ranks, the rest is whole.

    With W, G, K bytes a parameter of weights, gradients and optimizer: stage 0: (W + G + K)·N;
    1: (W + G)·N + K·N/d;  2: W·N + (G + K)·N/d;  3: (W + G + K)·N/d. ``CONVENTIONS`` has the usual W, G, K:
    16 bytes a parameter in the paper, 18 in DeepSpeed and Megatron, 20 with half gradients kept beside their sum.

    Raises: ConfigError for a stage that does not exist, or fewer ranks than one.
    Source: Rajbhandari et al. 2020, arXiv:1910.02054, fig. 1 and table 1.
    Truth:  tests/truth/test_plan_published.py (7.5B on 64 and 1T on 1,024 devices).
    """
    if stage not in range(4):
        raise ConfigError(f"ZeRO has the stages 0, 1, 2 and 3, found {stage}")
    if ranks < 1:
        raise ConfigError(f"ZeRO needs at least one rank, found {ranks}")
    parts = (optimizer, gradients, weights)
    return params * (sum(parts[stage:]) + sum(parts[:stage]) / ranks)


def by_convention(params: float, ranks: int, stage: int, convention: str = "paper") -> float:
    """``zero_bytes`` with the bytes a parameter of ``CONVENTIONS``; raises ConfigError for an unknown one."""
    if convention not in CONVENTIONS:
        raise unknown("convention", convention, list(CONVENTIONS))
    weights, gradients, optimizer = CONVENTIONS[convention]
    return zero_bytes(params, ranks, stage, optimizer, weights=weights, gradients=gradients)


def offloaded_bytes(
    params: float, largest: float, ranks: int, *, weights: bool = True, optimizer: bool = True
) -> float:
    """Bytes on a device under ZeRO-3 with states on the host: the largest layer in fp32, and what was not offloaded.

    both offloaded: 4·L;  optimizer only: 4·L + 2·N/d;  neither: 4·L + 18·N/d. Activations and buffers are not in it,
    which is why runs were seen to take 30 times as much.

    Source: deepspeed.runtime.zero.stage3's estimator; deepspeedai/DeepSpeed issue 4527.
    Truth:  tests/truth/test_plan_cases.py (6.8B on 4 devices: 0.49 GiB).
    """
    left = (2 * (not weights) if optimizer else 18) * params / ranks
    return 4 * largest + left


def bits_a_parameter(
    *, bits: float = 4, block: int = 64, scale_bits: int = 8, second_block: int = 256, second_scale_bits: int = 32
) -> float:
    """Bits a parameter of block-wise quantization: b + s/B, and s₂/(B·B₂) if the scales are quantized themselves.

    Without double quantization ``second_block`` is 0.
    Source: Dettmers et al. 2023, arXiv:2305.14314, §3 (4 + 8/64 + 32/(64·256) = 4.127).
    Truth:  tests/truth/test_plan_cases.py.
    """
    second = second_scale_bits / (block * second_block) if second_block else 0
    return bits + scale_bits / block + second


def rules_of_thumb(params: float) -> dict[str, float]:
    """Bytes that the field quotes for a model of ``params`` parameters, by the sentence that quotes them.

    Source: Rajbhandari et al. 2020, §3.1 (16 bytes a parameter); Megatron-LM counts 18, and 20 with half gradients
    beside their fp32 sum; 4 and 2 bytes a parameter for weights alone are the size of the numbers, and up to a fifth
    on top is what EleutherAI's "transformer math 101" quotes for inference.
    Truth:  tests/truth/test_plan_published.py (GPT-2 1.5B: at least 24 GB).
    """
    return {
        "full fine-tuning, 16 bytes a parameter": 16 * params,
        "full fine-tuning, 18 bytes (fp32 gradients)": 18 * params,
        "full fine-tuning, 20 bytes a parameter": 20 * params,
        "inference fp32, 4 bytes a parameter": 4 * params,
        "inference 16 bit, 2 bytes a parameter": 2 * params,
        "inference 16 bit and a fifth on top": 2.4 * params,
    }
