"""What one block keeps for its backward pass: closed forms of what danlu's own ``nn`` saves, in bytes a token slot."""

from __future__ import annotations

from dataclasses import dataclass

from ..models import Recipe
from ..nn.masks import MASKS, Full, Mask
from ..nn.masks.causal import Causal


@dataclass(frozen=True)
class Widths:
    """Bytes of a number in the residual stream and in matrix products; ``autocast`` copies weights and inputs."""

    stream: int
    product: int
    autocast: bool

    @classmethod
    def of(cls, precision: str) -> Widths:
        half = precision in ("bf16", "fp16")
        return cls(4, 2 if half else 4, half)


@dataclass(frozen=True)
class Ffn:
    """Vectors of width ffn that a feed-forward keeps, and that pass besides at the widest place of its way back."""

    kept: int
    passing: int
    gated: bool


# swiglu keeps gate and up (their product is made again) and passes d(product), grad·up and d(gate); gelu keeps its
# input and passes the remade output and its gradient; relu keeps its output, and its gradient and input's pass.
FFN = {
    "swiglu": Ffn(2, 3, True),
    "geglu": Ffn(2, 3, True),
    "gelu": Ffn(1, 2, False),
    "relu": Ffn(1, 2, False),
}
UNKNOWN_FFN = Ffn(2, 3, True)  # a part from outside is counted like the widest known one

# float32 numbers a vector kept beside it: 1 / rms, or mean and 1 / std; and vectors that pass while it goes backward.
NORM_NUMBERS = {"rms": 1, "layer": 2}
NORM_PASSING = {"rms": 3, "layer": 1}


# what the closed forms below were checked for: tests/parity/test_plan_memory.py
WIRINGS, POSITIONS, FIRST_KERNELS = ("pre", "post"), ("none", "learned", "sinusoidal", "rope"), ("sdpa",)


def uncounted(recipe: Recipe) -> list[str]:
    """The parts of a recipe that no formula here knows, as ``kind name``; they are counted like the nearest known."""
    chosen = (
        ("ffn", recipe.ffn, FFN),
        ("norm", recipe.norm, NORM_NUMBERS),
        ("wiring", recipe.wiring, WIRINGS),
        ("position", recipe.position, POSITIONS),
        ("kernel", recipe.kernels[0], FIRST_KERNELS),
    )
    return [f"{kind} {spec.use}" for kind, spec, known in chosen if spec.use not in known]


def block(recipe: Recipe, widths: Widths, *, whole: bool = False) -> dict[str, float]:
    """Bytes a slot that one block keeps, by kind: stream, attention, ffn.

    stream = 2 (d·s + 4·r) + 2·d·s under dropout: what both norms read, and their numbers;
    attention = inputs·d·p + (2·H·D + 2·K·D)·p + 4·H: inputs, q, k, v, out and log-sum-exp, packed
    documents the same; norms of q and k keep what they read;
    ffn = inputs·d·p + kept·ffn·p.   s, p: bytes of a number in the stream and in products. Inputs that a norm before
    made are made again and not kept, but in a ``whole`` block that is recomputed; other wirings keep, under autocast, a
    copy a product.

    Source: derived from src/danlu/nn (attention.py, ffns/, norms/, remade.py) and torch's fused attention.
    Truth:  tests/parity/test_plan_memory.py (the allocator's bytes left by one more block).
    """
    dims = recipe.dims
    wide, narrow = dims.heads * dims.head, dims.kv_heads * dims.head
    inputs = _inputs(recipe, widths, whole)
    stream = 2 * (dims.model * widths.stream + 4 * NORM_NUMBERS.get(recipe.norm.use, 2))
    if recipe.dropout:
        stream += 2 * dims.model * widths.stream
    attention = (inputs[0] * dims.model + 2 * wide + 2 * narrow) * widths.product + 4 * dims.heads
    if recipe.head_norm:
        numbers = NORM_NUMBERS.get(recipe.head_norm.use, 2)
        attention += (wide + narrow) * widths.product + 4 * numbers * (dims.heads + dims.kv_heads)
    kept = FFN.get(recipe.ffn.use, UNKNOWN_FFN).kept
    return {
        "stream": stream,
        "attention": attention,
        "ffn": (inputs[1] * dims.model + kept * dims.ffn) * widths.product,
    }


def _inputs(recipe: Recipe, widths: Widths, whole: bool) -> tuple[int, int]:
    """Vectors of the model's width kept as inputs of attention's and the feed-forward's products."""
    if recipe.wiring.use == "pre":
        return (1, 1) if whole else (0, 0)
    if widths.autocast:
        return 3, 2 if FFN.get(recipe.ffn.use, UNKNOWN_FFN).gated else 1
    return 1, 1


def masks(recipe: Recipe, widths: Widths, rows: int, length: int, *, plain: bool) -> float:
    """Bytes a block keeps for a mask that fused attention is shown: T·T numbers a row, or once if rows are plain.

    None where the kernel knows better: causal and full masks, and windows at least as long as the row.
    """
    shown = [m for m in recipe.masks if m.build(MASKS).within(length) not in KNOWN]
    return len(shown) / len(recipe.masks) * (1 if plain else rows) * length * length * widths.product


KNOWN: tuple[Mask, ...] = (Causal(), Full())
