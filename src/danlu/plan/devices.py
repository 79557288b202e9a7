"""How fast machines are: published rates of named devices, or this machine's, measured in half a second."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..core.errors import ConfigError, unknown

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Device:
    """Rates of one device: ``matmul`` and ``attention`` in FLOP/s, ``bandwidth`` in bytes/s, ``memory`` in bytes.

    ``reached`` is the share of these rates that whole training runs are seen to reach, low and high: a forecast of
    seconds is a band. Peak rates of data sheets are never reached; rates measured here are, nearly.
    """

    name: str
    memory: float
    bandwidth: float
    matmul: Mapping[str, float]
    attention: float | None = None
    reached: tuple[float, float] = (0.21, 0.51)
    place: str = "cuda"

    def rate(self, precision: str) -> float:
        """FLOP/s of matrix products; an unlisted precision runs as the fp32 it is emulated by."""
        return self.matmul.get(precision, self.matmul["fp32"])

    @property
    def timed(self) -> bool:
        """Whether its rates are known, so that seconds can be said."""
        return not math.isnan(self.bandwidth)


def _gpu(name: str, gib: float, terabytes: float, fp32: float, half: float, tf32: float | None = None) -> Device:
    rates = {"fp32": fp32 * 1e12, "tf32": (tf32 or fp32) * 1e12, "bf16": half * 1e12, "fp16": half * 1e12}
    return Device(name=name, memory=gib * GIB, bandwidth=terabytes * 1e12, matmul=rates)


# Data sheets of the makers: memory in GiB, TB/s, and dense TFLOP/s of fp32, of 16 bit (summed in fp32), of tf32. The
# band of `Device.reached`: 6·N·D / (hours · peak) over 21 published runs spans 0.21–0.51 for models of a billion
# parameters and more trained from scratch.
DEVICES = {
    "a10": _gpu("A10", 24, 0.6, 31.2, 125, 62.5),
    "a100-40": _gpu("A100 40 GB", 40, 1.555, 19.5, 312, 156),
    "a100": _gpu("A100 80 GB", 80, 2.039, 19.5, 312, 156),
    "a6000": _gpu("RTX A6000", 48, 0.768, 38.7, 154.8, 77.4),
    "b200": _gpu("B200", 180, 7.7, 75, 2250, 1100),
    "h100": _gpu("H100 SXM", 80, 3.35, 67, 989.4, 494.7),
    "h100-pcie": _gpu("H100 PCIe", 80, 2.0, 51, 756, 378),
    "h200": _gpu("H200 SXM", 141, 4.8, 67, 989.4, 494.7),
    "l4": _gpu("L4", 24, 0.3, 30.3, 121, 60.5),
    "l40s": _gpu("L40S", 48, 0.864, 91.6, 362, 183),
    "mi300x": _gpu("MI300X", 192, 5.3, 163.4, 1307.4, 653.7),
    "rtx3060": _gpu("RTX 3060 12 GB", 12, 0.36, 12.7, 25.5, 12.7),
    "rtx3080": _gpu("RTX 3080 10 GB", 10, 0.76, 29.8, 59.5, 29.8),
    "rtx3090": _gpu("RTX 3090", 24, 0.936, 35.6, 71, 35.6),
    "rtx4060ti": _gpu("RTX 4060 Ti 16 GB", 16, 0.288, 22.1, 44.1, 22.1),
    "rtx4070": _gpu("RTX 4070", 12, 0.504, 29.1, 58.3, 29.1),
    "rtx4080": _gpu("RTX 4080", 16, 0.717, 48.7, 97.5, 48.7),
    "rtx4090": _gpu("RTX 4090", 24, 1.008, 82.6, 165.2, 82.6),
    "rtx5080": _gpu("RTX 5080", 16, 0.96, 56.3, 112.6, 56.3),
    "rtx5090": _gpu("RTX 5090", 32, 1.792, 104.8, 209.5, 104.8),
    "rtx6000ada": _gpu("RTX 6000 Ada", 48, 0.96, 91.1, 364.2, 182.1),
    "t4": _gpu("T4", 16, 0.32, 8.1, 65),
    "v100": _gpu("V100 32 GB", 32, 0.9, 15.7, 125),
    "v100-16": _gpu("V100 16 GB", 16, 0.9, 15.7, 125),
}


def device(name: str | None = None, *, precision: str = "fp32") -> Device:
    """The named device, one of a size like "24GiB" of which only the memory is known, or without a name this machine,
    measured for ``precision``; raises ConfigError listing the known names. "RTX 4090" is rtx4090."""
    if name is None:
        return this_machine(precision)
    plain = re.sub(r"[\s_]|nvidia|geforce", "", name.lower())
    if plain in DEVICES:
        return DEVICES[plain]
    if plain[:1].isdigit() or plain[:1] == ".":
        return sized(bytes_of(name))
    raise unknown("device", name, list(DEVICES))


def sized(bytes_: float) -> Device:
    """A GPU of which only the memory is known."""
    unknown_rate = float("nan")
    return Device(
        name=f"a GPU of {bytes_ / GIB:.3g} GiB", memory=bytes_, bandwidth=unknown_rate, matmul={"fp32": unknown_rate}
    )


UNITS = {
    "": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
}  # fmt: skip


def bytes_of(text: str) -> float:
    """ "24GiB" → bytes; raises ConfigError for what is no size above 0."""
    match = re.fullmatch(r"\s*([\d.]+)\s*([a-zA-Z]*)\s*", text)
    if match is None or match[2].lower() not in UNITS or match[1].count(".") > 1 or not float(match[1].strip(".") or 0):
        raise ConfigError(f"expected a size like 24GiB or 800MB, found {text!r}")
    return float(match[1]) * UNITS[match[2].lower()]


def memory_of_machine() -> int:
    """Bytes a run may use here: the GPU's memory, else the machine's, else its control group's limit if lower."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open("/sys/fs/cgroup/memory.max", encoding="ascii") as handle:
            return min(total, int(handle.read()))
    except (OSError, ValueError):  # no control group, or its limit is "max"
        return total


def unmeasured() -> Device:
    """This machine with its memory alone, for who asks only whether a run fits."""
    return replace(sized(memory_of_machine()), name="this machine", place=_place())


def this_machine(precision: str = "fp32") -> Device:
    """Times a 768³ matrix product, causal attention of 512 tokens and a copy of 64 MB; takes about half a second.

    Truth: tests/truth/test_plan_time.py (a product of another size takes the time these rates say, within 3 ×).
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    place = _place()
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    n, rows, length, head = 768, 8, 512, 64
    a = torch.randn(n, n, device=place).to(dtype)
    q = torch.randn(1, rows, length, head, device=place).to(dtype)
    source = torch.ones(1 << 24, device=place)
    target = source.clone()
    matmul = 2 * n**3 / _seconds(lambda: a @ a)
    pairs = rows * length * (length + 1) // 2
    attention = 4 * pairs * head / _seconds(lambda: scaled_dot_product_attention(q, q, q, is_causal=True))
    copied = 2 * source.nbytes / _seconds(lambda: target.copy_(source))
    return Device(
        name=torch.cuda.get_device_name() if place == "cuda" else f"this machine, {torch.get_num_threads()} threads",
        memory=memory_of_machine(),
        bandwidth=copied,
        matmul={"fp32": matmul, precision: matmul},
        attention=attention,
        reached=(0.4, 1.0),
        place=place,
    )


def _place() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _seconds(work: Callable[[], object], spend: float = 0.06) -> float:
    """The least of several timings: other programs only ever add."""
    import torch

    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    work()
    wait()
    best, until = float("inf"), time.perf_counter() + spend
    while True:
        start = time.perf_counter()
        work()
        wait()
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() > until:
            return best
