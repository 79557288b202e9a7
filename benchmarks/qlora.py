"""Products with NF4 weights (double quantization, block 64) against bitsandbytes' Linear4bit on the CPU, one thread.

Both keep the same bytes; the forward pass is timed in turns (A B A B, medians) for a row of tokens and for one token.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from table import medians, paired, row, skipped, text

SHAPES = {"7B": (4096, 4096), "110M": (2560, 768)}
COMPUTE, TOKENS, TURNS, AIM = ("bf16", "fp32"), (512, 1), 7, 3.0
WHY = (
    "bf16 is how QLoRA computes. In fp32 a row of tokens spends its time in the same matrix product on both sides, and "
    "single tokens on small maps would need vector code for 4 bits; danlu's is torch's operations alone"
)


def rows() -> list[dict[str, Any]]:
    if find_spec("bitsandbytes") is None:
        return [
            skipped("NF4 forward", "bitsandbytes is not installed: pip install 'danlu[test]'", against="bitsandbytes")
        ]
    import torch

    torch.set_num_threads(1)
    return [
        _line(name, *shape, tokens, compute)
        for name, shape in SHAPES.items()
        for compute in COMPUTE
        for tokens in TOKENS
    ]


def _line(name: str, out: int, inp: int, tokens: int, compute: str) -> dict[str, Any]:
    import bitsandbytes
    import torch

    from danlu.core.spec import Spec
    from danlu.nn.storages import STORAGES

    weight = torch.randn(out, inp, generator=torch.Generator().manual_seed(0)) * 0.02
    kind = torch.bfloat16 if compute == "bf16" else torch.float32
    ours = Spec("nf4", {"double": True, "compute": compute}).build(STORAGES).keep(weight, None, ("heads", "model"))
    peer: Any = bitsandbytes.nn.Linear4bit(inp, out, bias=False, quant_type="nf4", compute_dtype=kind)
    peer.weight = bitsandbytes.nn.Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=True)
    peer = peer.to("cpu")
    x = torch.randn(tokens, inp)
    with torch.no_grad():
        peer(x)  # quantizes at its first call
        torch.testing.assert_close(ours(x), peer(x), atol=5e-2 if compute == "bf16" else 1e-3, rtol=1e-2)
        a, b = medians(*paired(lambda: _seconds(ours, x), lambda: _seconds(peer, x), TURNS))
    what = f"NF4 forward in {compute}, {name}: {out} × {inp}, {tokens} token{'s' * (tokens > 1)}"
    return row(what, 1 / a, 1 / b, unit="calls/s", against="bitsandbytes", aim=AIM, why=WHY)


def _seconds(layer: Callable[[Any], Any], x: Any) -> float:
    begin = time.process_time()
    layer(x)
    layer(x)
    return (time.process_time() - begin) / 2


if __name__ == "__main__":
    print(text([{"benchmark": "qlora", **line} for line in rows()]))
