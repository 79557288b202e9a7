"""How fast machines are: published rates of named devices, or this machine's, measured in half a second."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..core.errors import unknown

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

    def rate(self, precision: str) -> float:
        """FLOP/s of matrix products; an unlisted precision runs as the fp32 it is emulated by."""
        return self.matmul.get(precision, self.matmul["fp32"])


def _gpu(name: str, gib: float, terabytes: float, fp32: float, half: float, tf32: float | None = None) -> Device:
    rates = {"fp32": fp32 * 1e12, "tf32": (tf32 or fp32) * 1e12, "bf16": half * 1e12, "fp16": half * 1e12}
    return Device(name=name, memory=gib * GIB, bandwidth=terabytes * 1e12, matmul=rates)


# Data sheets of the makers, dense rates. The band of `Device.reached`: 6·N·D / (hours · peak) over 21 published runs
# spans 0.21–0.51 for models of a billion parameters and more trained from scratch.
DEVICES = {
    "a100-40": _gpu("A100 40 GB", 40, 1.555, 19.5, 312, 156),
    "a100": _gpu("A100 80 GB", 80, 2.039, 19.5, 312, 156),
    "h100": _gpu("H100 SXM", 80, 3.35, 67, 989.4, 494.7),
    "h200": _gpu("H200 SXM", 141, 4.8, 67, 989.4, 494.7),
    "l4": _gpu("L4", 24, 0.3, 30.3, 121, 60.5),
    "rtx3090": _gpu("RTX 3090", 24, 0.936, 35.6, 71, 35.6),
    "rtx4090": _gpu("RTX 4090", 24, 1.008, 82.6, 165.2, 82.6),
    "t4": _gpu("T4", 16, 0.32, 8.1, 65),
    "v100": _gpu("V100 32 GB", 32, 0.9, 15.7, 125),
}


def device(name: str | None = None, *, precision: str = "fp32") -> Device:
    """The named device, or this machine measured for ``precision``; raises ConfigError listing the known names."""
    if name is None:
        return this_machine(precision)
    if name not in DEVICES:
        raise unknown("device", name, list(DEVICES))
    return DEVICES[name]


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
    unknown_rate = float("nan")
    return Device(
        name="this machine", memory=memory_of_machine(), bandwidth=unknown_rate, matmul={"fp32": unknown_rate}
    )


def this_machine(precision: str = "fp32") -> Device:
    """Times a 768³ matrix product, causal attention of 512 tokens and a copy of 64 MB; takes about half a second.

    Truth: tests/truth/test_plan_time.py (a product of another size takes the time these rates say, within 3 ×).
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    place = "cuda" if torch.cuda.is_available() else "cpu"
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
    )


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
