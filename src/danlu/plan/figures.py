"""How the inputs of published figures about parameters and memory are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import published
from .adapted import (
    bitfit_parameters,
    bottleneck_parameters,
    lora_parameters,
    maps_of_llama,
    prefix_parameters,
    prompt_parameters,
)
from .architectures import parameters_of, settings_known
from .counts import Counted
from .kv import kv_bytes, latent_kv_bytes
from .sharded import Sharded

Inputs = Mapping[str, Any]
GB, GIB, MIB, TERA = 1e9, 2**30, 2**20, 1e12

LLAMA = {"arch": "llama", "vocab": 32000}
LLAMA3 = {"arch": "llama", "vocab": 128256, "kv_heads": 8}
NAMED: dict[str, dict[str, Any]] = {
    "llama-7b": {**LLAMA, "hidden": 4096, "layers": 32, "heads": 32, "ffn": 11008},
    "llama-13b": {**LLAMA, "hidden": 5120, "layers": 40, "heads": 40, "ffn": 13824},
    "llama-33b": {**LLAMA, "hidden": 6656, "layers": 60, "heads": 52, "ffn": 17920},
    "llama-65b": {**LLAMA, "hidden": 8192, "layers": 80, "heads": 64, "ffn": 22016},
    "llama3-8b": {**LLAMA3, "hidden": 4096, "layers": 32, "heads": 32, "ffn": 14336},
    "llama3-70b": {**LLAMA3, "hidden": 8192, "layers": 80, "heads": 64, "ffn": 28672},
    "bert-base": {"arch": "bert", "vocab": 30522, "hidden": 768, "layers": 12, "ffn": 3072, "max_positions": 512},
    "bert-large": {"arch": "bert", "vocab": 30522, "hidden": 1024, "layers": 24, "ffn": 4096, "max_positions": 512},
}  # fmt: skip
"""Models that figures call by name."""


def sizes_of(inputs: Inputs) -> dict[str, Any]:
    """The inputs that count something; how positions are turned or residuals added counts nothing."""
    known = settings_known(inputs["arch"])
    return {key: value for key, value in inputs.items() if key in known}


def counted(inputs: Inputs) -> Counted:
    named = NAMED[inputs["model"]] if "model" in inputs else inputs
    return parameters_of(named["arch"], **sizes_of(named))


def trained(given: Inputs) -> float:
    """Numbers that a method trains, by its name."""
    hidden, layers = given["hidden"], given["layers"]

    def lora() -> int:
        ffn, narrow = given.get("ffn", 4 * hidden), given.get("kv_dim", hidden)
        maps = maps_of_llama(hidden=hidden, ffn=ffn, kv_width=narrow)
        chosen = [maps[name.removesuffix("_proj")] for name in given["targets"]]
        return lora_parameters(chosen, rank=given["r"], layers=layers)

    methods: dict[str, Callable[[], int]] = {
        "lora": lora,
        "prompt": lambda: prompt_parameters(tokens=given["tokens"], hidden=hidden),
        "prefix": lambda: prefix_parameters(tokens=given["tokens"], layers=layers, width=given.get("kv_dim", hidden)),
        "adapter": lambda: bottleneck_parameters(layers=layers, hidden=hidden, size=given["size"]),
        "bitfit": lambda: bitfit_parameters(layers=layers, hidden=hidden, ffn=given.get("ffn", 4 * hidden)),
    }
    return methods[given["method"]]()


def trained_percent(given: Inputs) -> float:
    named = NAMED[given["model"]]
    return 100 * trained({**named, **given}) / counted(given).total


def kv(given: Inputs) -> float:
    each, tokens, rows = given.get("bytes", 1), given.get("tokens", 1), given.get("batch", 1)
    if given.get("attention") == "mla":
        return latent_kv_bytes(
            layers=given["layers"], rank=given["kv_lora_rank"], rope_head=given["qk_rope_head_dim"], tokens=tokens,
            rows=rows, bytes_each=each,
        )  # fmt: skip
    return kv_bytes(
        layers=given["layers"], kv_heads=given["kv_heads"], head=given["head_dim"], tokens=tokens, rows=rows,
        bytes_each=each, window=given.get("window", 0), windowed=given.get("windowed_layers"),
    )  # fmt: skip


def activations(given: Inputs) -> float:
    return published.activation_bytes_per_layer(
        length=given["seq"], rows=given["micro_batch"], model=given["hidden"], heads=given["heads"],
        tensor=given.get("tp", 1), mode=given["mode"], ffn=given.get("ffn", 0),
    )  # fmt: skip


def packed(given: Inputs) -> float:
    """Elements that are stored when linear weights are packed, several a byte."""
    found = counted(given)
    return found.linear * given["bits"] // 8 + found.total - found.linear + given.get("lora_params", 0)


def stored(given: Inputs) -> float:
    """A checkpoint whose experts are kept in other bits than the rest, or all of it in the same."""
    if "moe_params" in given:
        return given["moe_params"] * given["moe_bits"] / 8 + given["other_params"] * given["other_bytes"]
    return given["params"] * given["bytes_per_param"]


def served(given: Inputs) -> float:
    """Linear weights at so many bits, the rest in 16."""
    found = counted(given)
    return (found.linear * given["bits"] / 8 + 2 * (found.total - found.linear)) / GB


def sharded(given: Inputs, **changes: Any) -> Sharded:
    """The inputs of runs under fully sharded data parallelism, as the tables of their makers name them."""
    found = counted(given)
    named = {**given, **NAMED.get(given.get("model", ""), {})}
    settings: dict[str, Any] = {
        "hidden": named["hidden"], "ffn": named["ffn"], "layers": named["layers"], "vocab": named["vocab"],
        "narrow": named["hidden"] * named.get("kv_heads", named["heads"]) // named["heads"],
    }  # fmt: skip
    return Sharded(counted=found, **{**settings, **changes})


def measured_peak(given: Inputs) -> float:
    kept = given["ac"].split()[0]
    ranks = next(int(word) for word in given["parallel"].replace(",", " ").split() if word.isdigit())
    tokens = given["local_batch"] * given["seq"]
    return sharded(given, ranks=ranks, tokens=tokens, recompute=kept).peak_bytes / GIB


def traced(given: Inputs) -> float:
    tokens = given["batch_per_rank"] * given["seq"]
    sizes = {**given, "arch": "llama"}
    made = sharded(
        sizes, ranks=given["world"], tokens=tokens, precision=given["dtype"], reshard=given["reshard_after_forward"]
    )  # fmt: skip
    return made.peak_bytes / MIB


def fits(given: Inputs) -> bool:
    """ "30B FSDP8 H100-80GB, amp_bf16, checkpointing, microbatch 3, seq 2048"."""
    words = given["description"].replace(",", " ").split()
    ranks = int(next(word for word in words if word.startswith("FSDP")).removeprefix("FSDP"))
    length, hidden, layers = int(words[words.index("seq") + 1]), given["hidden"], given["layers"]
    counted = Counted(total=given["params"], active=given["params"], looked_up=0, linear=12 * layers * hidden**2)
    need = Sharded(
        counted=counted, hidden=hidden, ffn=4 * hidden, layers=layers, vocab=VOCAB_OF_MPT, ranks=ranks,
        tokens=given["microbatch"] * length, recompute="full" if "checkpointing" in words else "none",
    )  # fmt: skip
    return need.peak_bytes <= given["gpu_memory_gb"] * GIB


VOCAB_OF_MPT = 50_432


def zero_difference(given: Inputs) -> float:
    """States that more ranks, or smaller states, take off a rank."""
    if "dp_a" in given:
        return given["params"] * given["bytes_per_param"] * (1 / given["dp_a"] - 1 / given["dp_b"]) / GIB
    return given["params"] * (given["state_bytes_a"] - given["state_bytes_b"]) / GB
