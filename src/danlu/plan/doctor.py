"""What this machine has: the facts a user is asked for first when something does not work."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform

EXTRAS = {
    "sentencepiece": "sentencepiece",
    "tiktoken": "tiktoken",
    "parquet": "pyarrow",
    "zstd": "zstandard",
    "plot": "matplotlib",
    "tensorboard": "tensorboard",
}


def examine() -> dict[str, str]:
    """Name → finding, in the order a person reads them."""
    import torch

    from .. import __version__

    return {
        "danlu": __version__,
        "python": f"{platform.python_version()} on {platform.platform()}",
        "torch": torch.__version__,
        "device": _device(),
        "dtypes": _dtypes(),
        "cores": f"{_cores()} usable, torch uses {torch.get_num_threads()}",
        "memory": _memory(),
        **{f"extra {extra}": _extra(extra, module) for extra, module in EXTRAS.items()},
    }


def _device() -> str:
    import torch

    if not torch.cuda.is_available():
        return f"cpu ({torch.backends.cpu.get_cpu_capability()})"
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f"cuda: {', '.join(names)}"


def _dtypes() -> str:
    import torch

    if not torch.cuda.is_available():
        return "fp32; bf16 by autocast; fp16 works but its matrix products are slow on a CPU"
    bf16 = "bf16, " if torch.cuda.is_bf16_supported() else ""
    return f"fp32, tf32, {bf16}fp16"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> str:
    page = os.sysconf("SC_PAGE_SIZE")
    total, free = os.sysconf("SC_PHYS_PAGES") * page, os.sysconf("SC_AVPHYS_PAGES") * page
    return f"{total / 2**30:.1f} GiB, {free / 2**30:.1f} GiB free"


def _extra(extra: str, module: str) -> str:
    if importlib.util.find_spec(module) is None:
        return f"missing: pip install 'danlu[{extra}]'"
    return f"{module} {importlib.metadata.version(module)}"
