"""Seconds from arithmetic, bytes moved and a machine's rates."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.spec import Spec
from ..models import Recipe
from ..nn.masks import MASKS
from .devices import Device
from .kv import windows_of
from .operations import Operations, operations
from .sizes import parameters
from .trained import trained
from .work import Memory, Work

ATTENTION_BACKWARD = 2.5  # fused attention computes its scores again: five products instead of two
GATED = ("swiglu", "geglu")
PASSES = 6  # times that what a block keeps is written or read around its products, forward and back
UPDATE_BYTES = 28  # AdamW reads weight, gradient and two states, and writes three of them, 4 bytes each


def row(work: Work) -> Operations:
    """The forward arithmetic of one row; packed rows are counted as whole ones, an upper bound."""
    sizes, dims, recipe = parameters(work.recipe), work.recipe.dims, work.recipe
    masks: tuple[Spec, ...] = recipe.masks if isinstance(recipe, Recipe) else ()
    windows = windows_of(recipe) if isinstance(recipe, Recipe) else [None]
    window = max((w for w in windows if w), default=None) if all(windows) else None
    both = any(mask.build(MASKS, where="masks").foresees for mask in masks)
    return operations(
        block_weights=sizes.block_weights * dims.layers, head_weights=sizes.head_weights, layers=sizes.attentions,
        heads=dims.heads, head=dims.head, length=work.length, window=window, causal=not both,
    )  # fmt: skip


def step_operations(work: Work) -> Operations:
    """The forward arithmetic of all micro-batches of a step."""
    return row(work).times(work.rows * work.micros)


def training_operations(work: Work) -> float:
    """FLOPs of a step: forward, gradients of what passes, of the weights that train, and what is computed again.

    A model of which all trains takes 3 forwards, 4 with recomputed blocks; frozen weights need no gradient of their
    own, one forward less, and what an adapter adds costs six FLOPs a number and token.

    Truth: tests/truth/test_plan_time.py (by hand; LoRA's step is two forwards and its own maps).
    """
    done, (linear, scores) = step_operations(work), again(work)
    once_more = round(linear * done.linear + scores * done.scores)
    if work.adapter is None:
        return done.training() + once_more
    added = 6 * trained(work).trains * work.slots * work.micros
    return done.training(frozen=True) + once_more + added


def again(work: Work) -> tuple[float, float]:
    """The share of linear products, and of scores, that backward computes again.

    "blocks": all;  "ops": products wider than the model, which are those of the feed-forward's first maps, no scores.
    """
    dims, sizes = work.recipe.dims, parameters(work.recipe)
    maps = 1 + (isinstance(work.recipe, Recipe) and work.recipe.ffn.use in GATED)
    wide = min(1.0, maps * dims.model * dims.ffn / sizes.block_weights)
    return {"blocks": (1.0, 1.0), "ops": (wide, 0.0)}.get(work.recompute, (0.0, 0.0))


def step_seconds(work: Work, device: Device, memory: Memory) -> tuple[float, float]:
    """Least and most seconds of a training step: products at the matmul rate, attention at its own, the rest by bytes.

    t = Σ FLOPs_i / rate_i + bytes / bandwidth, divided by the shares of these rates that runs are seen to reach.
    What moves is what blocks keep, ``PASSES`` times, and the states of the optimizer's update.

    Source: Williams, Waterman, Patterson 2009, "Roofline", CACM 52(4); the band: ``devices.Device.reached``.
    Truth:  tests/truth/test_plan_time.py (the arithmetic by hand, and its order of magnitude).
    """
    scores, (_, twice) = step_operations(work).scores, again(work)
    rate = device.rate(work.precision.use)
    products = training_operations(work) - (3 + twice) * scores
    attention = (1 + twice + ATTENTION_BACKWARD) * scores
    ideal = products / rate + attention / (device.attention or rate) + moved_bytes(work, memory) / device.bandwidth
    low, high = device.reached
    return ideal / high, ideal / low


def moved_bytes(work: Work, memory: Memory) -> float:
    """Bytes that a step reads and writes, nearly: weights forward and back, what is kept, logits and their slopes, and
    the update."""
    held = memory.phases.get("loss", {})
    kept = sum(bytes_ for kind, bytes_ in held.items() if kind.startswith("activations"))
    weights = (2 + again(work)[0]) * sum(held.get(kind, 0) for kind in ("weights", "frozen weights", "weight copies"))
    logits = 8 * work.slots * work.recipe.dims.vocab
    return work.micros * (PASSES * kept + weights + logits) + UPDATE_BYTES * trained(work).trains


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Arithmetic intensity beside what the device needs to be busy: FLOPs a byte moved, and the ridge rate/bandwidth.

    Below the ridge a program waits for memory, above it for arithmetic.

    Source: Williams, Waterman, Patterson 2009, "Roofline: an insightful visual performance model", CACM 52(4).
    Truth:  tests/truth/test_plan_time.py (an H100's ridge of 295; decoding is memory-bound up to it).
    """

    flops: float
    bytes_: float
    rate: float
    bandwidth: float

    @property
    def intensity(self) -> float:
        return self.flops / self.bytes_

    @property
    def ridge(self) -> float:
        return self.rate / self.bandwidth

    @property
    def by(self) -> str:
        return "compute" if self.intensity >= self.ridge else "memory"

    @property
    def seconds(self) -> float:
        """At least: the longer of the two."""
        return max(self.flops / self.rate, self.bytes_ / self.bandwidth)


def decode_seconds(bytes_read: float, device: Device) -> float:
    """Least seconds of one decoding step: every weight and the whole cache are read once.

    Source: Pope et al. 2022, arXiv:2211.05102, §2.1.
    Truth:  tests/truth/test_plan_time.py (Llama-3-70B in int8 on 8 TPU v5e: 17 ms).
    """
    return bytes_read / device.bandwidth
