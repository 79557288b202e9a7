"""Attention kernels: peak memory of forward and backward from 1k to 16k tokens, and CPU seconds.

Bytes are the most that torch's allocator held above the queries, keys and values, counted exactly; the curve
a + b N + c N² is fitted to them, and c N² at 16k is the quadratic term. One row, 2 heads of 32, causal, float32.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parent))

from table import paired, row, text

HEADS, SIZE = 2, 32
LENGTHS = (1024, 2048, 4096, 8192, 16384)
SHORT, WINDOW = 4096, 256


def rows() -> list[dict[str, Any]]:
    return _slopes() + _memory() + _seconds()


def _slopes() -> list[dict[str, Any]]:
    lines = []
    for position in ("none", "alibi"):
        share = quadratic({length: peak("tiled", position, length) for length in LENGTHS})
        what = f"tiled, {_said(position)}: quadratic term of peak memory, 1k to 16k tokens"
        lines.append(row(what, share, 1.0, unit="of the peak", against="the whole", aim=0.05, lower=True))
    return lines


def quadratic(peaks: dict[int, int]) -> float:
    """The share of the fitted curve's quadratic term in the peak of the longest row."""
    import torch

    longest = max(peaks)
    at = torch.tensor([length / longest for length in peaks], dtype=torch.double)
    curve = torch.stack([torch.ones_like(at), at, at**2], 1)
    measured = torch.tensor(list(peaks.values()), dtype=torch.double)
    c = torch.linalg.lstsq(curve, measured[:, None]).solution[2, 0]
    return max(0.0, float(c)) / peaks[longest]


def _memory() -> list[dict[str, Any]]:
    lines = []
    for peer, position, aim in (("sdpa", "none", 1.5), ("reference", "none", 0.1), ("sdpa", "alibi", 0.1)):
        ours, theirs = (peak(kernel, position, SHORT) / 2**20 for kernel in ("tiled", peer))
        what = f"tiled, {_said(position)}: peak memory of {SHORT:,} tokens"
        lines.append(row(what, ours, theirs, unit="MiB", against=peer, aim=aim, lower=True))
    return lines


def _seconds() -> list[dict[str, Any]]:
    cases = (("tiled", "reference", "causal", None, 1.0), ("sparse", "sdpa", f"window of {WINDOW}", WINDOW, 2.0))
    lines = []
    for ours, peer, said, window, aim in cases:
        a, b = paired(lambda: seconds(ours, window), lambda: seconds(peer, window), rounds=3)  # noqa: B023
        rates = [SHORT / statistics.median(times) for times in (a, b)]
        what = f"{ours}, {said}, forward and backward of {SHORT:,} tokens"
        lines.append(row(what, *rates, unit="tokens/CPU s", against=peer, aim=aim))
    return lines


def peak(kernel: str, position: str, length: int) -> int:
    """Bytes held at most by forward and backward, above what they are given."""
    from danlu.nn.kernels import KERNELS
    from danlu.plan import allocating

    ask = _ask(position, length, None)
    with allocating() as held:
        KERNELS[kernel]().run(ask).sum().backward()
    return held.bytes_


def seconds(kernel: str, window: int | None) -> float:
    from danlu.nn.kernels import KERNELS

    ask = _ask("none", SHORT, window)
    start = time.process_time()
    KERNELS[kernel]().run(ask).sum().backward()
    return time.process_time() - start


def _ask(position: str, length: int, window: int | None) -> Any:
    import torch

    from danlu.nn.dims import Dims
    from danlu.nn.kernels import Ask
    from danlu.nn.layout import Keys, Layout
    from danlu.nn.masks import MASKS
    from danlu.nn.positions import POSITIONS

    torch.set_num_threads(1)
    q, k, v = (torch.randn(1, length, HEADS, SIZE, requires_grad=True) for _ in range(3))
    layout = Layout.dense(torch.ones(1, length))
    dims = Dims(vocab=1, model=HEADS * SIZE, heads=HEADS, layers=1, context=length)
    mask = MASKS["causal"]()
    mask = mask if window is None else mask & cast("Any", MASKS["window"])(size=window)
    return Ask(q, Keys(k, v, layout.position, layout.segment), layout, mask, POSITIONS[position](dims))


def _said(position: str) -> str:
    return "no bias" if position == "none" else position


def main() -> None:
    print(text(rows()))


if __name__ == "__main__":
    main()
