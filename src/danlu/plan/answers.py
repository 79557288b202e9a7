"""Which calculator answers which kind of published figure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import published, scaling
from .architectures import active_of
from .cost import Bill, hours_a_trillion
from .exchange import pipeline_bubble, ring_bytes, zero_volume
from .figures import (
    GB,
    GIB,
    TERA,
    Inputs,
    activations,
    counted,
    fits,
    kv,
    measured_peak,
    packed,
    served,
    sizes_of,
    stored,
    traced,
    trained,
    trained_percent,
    zero_difference,
)
from .operations import (
    device_hours,
    gpt_iteration_flops,
    pf_days,
    training_flops,
    training_flops_a_token,
    utilization,
)
from .sizes import gpt2_parameters


def _hours(given: Inputs) -> float:
    flops = training_flops(given["params"], given["tokens"], factor=given.get("factor", 6))
    return device_hours(flops, rate=given["peak_tflops"] * TERA, share=given["mfu"])


def _used(given: Inputs) -> float:
    flops = training_flops(given["params"], given["tokens"])
    return utilization(flops, seconds=3600 * given["gpu_hours"], rate=given["peak_tflops"] * TERA)


def _used_by_speed(given: Inputs) -> float:
    each = training_flops_a_token(
        given["params"], layers=given["layers"], width=given["hidden"], length=given["seq"]
    )  # fmt: skip
    return utilization(each * given["tokens_per_second_per_gpu"], seconds=1, rate=given["peak_tflops"] * TERA)


def _iteration(given: Inputs) -> float:
    return gpt_iteration_flops(
        layers=given["layers"], model=given["hidden"], vocab=given["vocab"], length=given["seq"],
        rows=given["global_batch"], recompute=given.get("recompute") == "full",
    )  # fmt: skip


def _used_by_step(given: Inputs) -> float:
    seconds = given["iteration_seconds"] * given["gpus"]
    return utilization(_iteration(given), seconds=seconds, rate=given["peak_tflops"] * TERA)


def _a_token(given: Inputs) -> float:
    if "active_params" in given:
        return training_flops(given["active_params"], 1) / 1e9
    return 1e-9 * training_flops_a_token(
        given["params"], layers=given["layers"], width=given["hidden"], length=given["seq"], causal=given["causal"]
    )  # fmt: skip


def _gpt(given: Inputs) -> float:
    count = gpt2_parameters(
        layers=given["layers"], model=given["hidden"], vocab=given["vocab"], context=given["seq"]
    )  # fmt: skip
    return (count + (not given.get("tied", True)) * given["vocab"] * given["hidden"]) / 1e9


def _best_tokens(given: Inputs) -> float:
    """By the line through the paper's table; by the budget, 6·N·D = C, where it is given."""
    if "flops" in given:
        return given["flops"] / 6 / given["params"]
    return scaling.APPROACHES[given["approach"]].tokens_for(given["params"])


def _exponents(given: Inputs) -> Any:
    if "alpha" in given:
        return scaling.Fit(0, 1, 1, given["alpha"], given["beta"]).exponents[0]
    return [list(law.exponents) for law in (*scaling.APPROACHES.values(), scaling.KAPLAN)]


def _parametric(given: Inputs) -> float:
    fit = scaling.Fit(given["E"], given["A"], given["B"], given["alpha"], given["beta"])
    return fit.loss(given["params"], given["tokens"])


def _bottleneck(given: Inputs) -> float:
    """A power law of one resource with the constants given."""
    constant, amount = ("Dc", "tokens") if "Dc" in given else ("Nc", "params")
    return (given[constant] / given[amount]) ** given["alpha"]


def _constants(_: Inputs) -> list[float]:
    fit = scaling.EPOCH
    return [fit.floor, fit.a, fit.b, fit.alpha, fit.beta]


ANSWERS: dict[str, Callable[[Inputs], Any]] = {
    "params_total": lambda g: counted(g).total,
    "params_active": lambda g: active_of(g["arch"], **sizes_of(g)),
    "params_formula": _gpt,
    "peft_trainable_params": trained,
    "peft_trainable_params_percent": trained_percent,
    "quantised_packed_elements": packed,
    "quant_bits_per_param": lambda g: published.bits_a_parameter(
        bits=g["bits"], block=g["block"], scale_bits=g["scale_bits"],
        second_block=g["second_block"] if g["double_quant"] else 0, second_scale_bits=g["second_scale_bits"],
    ),
    "zero_model_states": lambda g: published.zero_bytes(g["params"], g["dp"], g["stage"]) / GB,
    "adam_model_states": lambda g: g["params"] * g.get("bytes_per_param", 16) / GB,
    "weights_bytes": lambda g: g.get("lora_share", 1) * g["params"] * g["bytes_per_param"],
    "checkpoint_bytes": stored,
    "inference_memory": served,
    "estimator_vs_measured": lambda g: published.offloaded_bytes(
        g["total_params"], g["largest_layer_params"], g["gpus"], weights=g["offload_param"],
        optimizer=g["offload_optimizer"],
    ) / GIB,
    "measured_finetune_memory": lambda g: g["params"] * g.get("bytes_per_param", g.get("weights_bytes")) / GB,
    "finetune_memory_bound": lambda g: g["params"] * g["bytes_per_param"],
    "finetune_memory_guide": lambda g: g["params"] * g["bytes_per_param"] / GB,
    "measured_memory_difference": zero_difference,
    "measured_peak_memory": measured_peak,
    "traced_memory": traced,
    "fits_in_memory": fits,
    "activation_bytes_per_layer": activations,
    "activation_bytes_per_layer_term": lambda g: 5 * g["heads"] * g["seq"] / g["hidden"],
    "activation_saving": lambda g: published.score_share(length=g["seq"], model=g["hidden"], heads=g["heads"]),
    "kv_bytes_per_token": kv,
    "kv_elements_per_token": kv,
    "kv_bytes_total": kv,
    "train_flops": lambda g: training_flops(g["params"], g["tokens"], factor=g["factor"]),
    "pf_days": lambda g: pf_days(g["flops"]),
    "flops_per_token": _a_token,
    "gpu_hours": _hours,
    "gpu_hours_per_1e12_tokens": lambda g: hours_a_trillion(g["gpu_hours"], g["tokens"]),
    "training_days": lambda g: Bill(device_hours=g["gpu_hours"], devices=g["gpus"]).days,
    "default_mfu_band": _used,
    "mfu_from_throughput": _used_by_speed,
    "mfu_from_iteration_time": _used_by_step,
    "mfu_from_tflops": lambda g: g["tflops_per_gpu"] / g["peak_tflops"],
    "iteration_time": lambda g: _iteration(g) / (g["gpus"] * g["achieved_tflops"] * TERA),
    "chinchilla_optimal_tokens": _best_tokens,
    "chinchilla_optimal_flops": lambda g: training_flops(g["params"], g["tokens"]),
    "chinchilla_loss": _parametric,
    "kaplan_loss": _bottleneck,
    "scaling_exponents": _exponents,
    "scaling_constants": _constants,
    "pipeline_bubble": lambda g: pipeline_bubble(stages=g["stages"], micros=g["microbatches"], virtual=g["virtual"]),
    "roofline_ridge": lambda g: g["peak_tflops"] / g["bandwidth_tb_s"],
    "decode_latency": lambda g: 1e3 * (g["params_bytes"] + g["kv_bytes"]) / (g["chips"] * g["bandwidth"]),
    "collective_bytes": lambda g: ring_bytes(g["bytes"], g["world"], g["collective"]),
    "collective_ratio": lambda g: zero_volume(g["stage"]),
}  # fmt: skip
"""Kind of figure → its calculator, over inputs as planner_cases.json writes them."""
