"""Seconds from arithmetic, bytes moved and a machine's rates."""

from __future__ import annotations

from ..core.spec import Spec
from ..nn.masks import MASKS
from .devices import Device
from .footprint import step_of
from .operations import Operations, operations
from .sizes import parameters
from .work import Work

ATTENTION_BACKWARD = 2.5  # fused attention computes its scores again: five products instead of two
PASSES = 6  # times that what a block keeps is written or read around its products, forward and back
UPDATE_BYTES = 28  # AdamW reads weight, gradient and two states, and writes three of them, 4 bytes each


def row(work: Work) -> Operations:
    """The forward arithmetic of one row; packed rows are counted as whole ones, an upper bound."""
    sizes, dims = parameters(work.recipe), work.recipe.dims
    masks = step_of(work).masks
    windows = [_window(mask) for mask in masks]
    window = max((w for w in windows if w), default=None) if all(windows) else None
    both = any(mask.build(MASKS, where="masks").foresees for mask in masks)
    return operations(
        block_weights=sizes.block_weights * dims.layers, head_weights=sizes.head_weights, layers=sizes.attentions,
        heads=dims.heads, head=dims.head, length=work.length, window=window, causal=not both,
    )  # fmt: skip


def _window(mask: Spec) -> int | None:
    """The size of the window in a mask, which may be one of two that are joined."""
    parts = [Spec.read(part) for part in mask.settings.values() if isinstance(part, (dict, Spec))]
    return mask.settings["size"] if mask.use == "window" else next(filter(None, map(_window, parts)), None)


def step_operations(work: Work) -> Operations:
    """The forward arithmetic of all micro-batches of a step."""
    return row(work).times(work.rows * work.micros)


def step_seconds(work: Work, device: Device) -> tuple[float, float]:
    """Least and most seconds of a training step: products at the matmul rate, attention at its own, the rest by bytes.

    t = Σ FLOPs_i / rate_i + bytes / bandwidth, divided by the shares of these rates that runs are seen to reach.

    Source: Williams, Waterman, Patterson 2009, "Roofline", CACM 52(4); the band: ``devices.Device.reached``.
    Truth:  tests/truth/test_plan_time.py (the arithmetic by hand, and its order of magnitude).
    """
    done, sizes = step_operations(work), parameters(work.recipe)
    again = int(work.recompute)
    products = (3 + again) * done.linear + 3 * done.head
    attention = (1 + again + ATTENTION_BACKWARD) * done.scores
    rate = device.rate(work.precision)
    moved = PASSES * _kept(work) + UPDATE_BYTES * sizes.total
    ideal = products / rate + attention / (device.attention or rate) + moved / device.bandwidth
    low, high = device.reached
    return ideal / high, ideal / low


def decode_seconds(bytes_read: float, device: Device) -> float:
    """Least seconds of one decoding step: every weight and the whole cache are read once.

    Source: Pope et al. 2022, arXiv:2211.05102, §2.1.
    Truth:  tests/truth/test_plan_time.py (Llama-3-70B in int8 on 8 TPU v5e: 17 ms).
    """
    return bytes_read / device.bandwidth


def _kept(work: Work) -> float:
    return work.micros * (step_of(work).kept() + 8 * work.slots * work.recipe.dims.vocab)
