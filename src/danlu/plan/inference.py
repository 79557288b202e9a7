"""Bytes of generation: weights, what is laid out for speed, the cache, and what passes while prompts are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..models import Architecture
from ..nn.cells import CELLS
from .kv import kv_bytes
from .sizes import Sizes, parameters
from .work import Memory

TOKENS_FED = 16_384  # of prompts at once: infer/runner.py feeds longer ones in pieces
LAID_OUT = 2 << 30  # bytes of linear weights up to which generation on a CPU in fp32 lays out copies: infer/packed.py
PASSING = {"swiglu": 3, "geglu": 3, "gelu": 2, "relu": 2}
"""Vectors of the feed-forward's width that pass for a token that is fed; a part from outside is like the widest."""


def inference(
    recipe: Architecture, *, rows: int, length: int, prompt: int | None = None, bytes_each: float = 4, cpu: bool = True
) -> Memory:
    """Bytes of generating up to ``length`` tokens a row, of which ``prompt`` (by default all) are fed at once.

    load: weights; decode: weights, copies of them laid out for speed, key-value cache, logits; prefill: with the
    vectors of the widest sublayer for the tokens fed at once.

    Source: derived from src/danlu/infer and nn/caches/slab.py; Kwon et al. 2023, arXiv:2309.06180, §3.
    Truth:  tests/parity/test_plan_inference.py (torch's allocator watched while danlu.generate runs).
    """
    dims, sizes = recipe.dims, parameters(recipe)
    weights = round(bytes_each * sizes.total)
    linear = round(bytes_each * _laid_out(recipe, sizes))
    copies = linear if cpu and bytes_each == 4 and linear <= LAID_OUT else 0
    served = _SERVED.get(recipe.form, _both)(recipe, rows, length, bytes_each)
    kept = {"weights": weights, "laid-out weights": copies, "kv cache": served + 16 * rows * length}
    fed = min(TOKENS_FED, rows * (prompt or length))
    passing = round(fed * bytes_each * (3 * dims.model + _wide(recipe, sizes) * dims.ffn))
    logits = round(rows * dims.vocab * (4 + bytes_each))
    return Memory({
        "load": {"weights": weights},
        "prefill": kept | {"temporary": passing, "logits": logits},
        "decode": kept | {"logits": logits},
    })  # fmt: skip


def _stack(recipe: Any, rows: int, length: int, bytes_each: float) -> int:
    """Keys and values of every layer."""
    dims = recipe.dims
    return kv_bytes(
        layers=dims.layers, kv_heads=dims.kv_heads, head=dims.head, tokens=length, rows=rows, bytes_each=bytes_each
    )


def _both(recipe: Any, rows: int, length: int, bytes_each: float) -> int:
    """Of an encoder-decoder: keys of what it wrote and of what it looks at, each up to a row long."""
    return 2 * _stack(recipe, rows, length, bytes_each)


def _states(recipe: Any, rows: int, length: int, bytes_each: float) -> int:
    """Of a recurrent model: states, however many tokens there were."""
    states: int = CELLS[recipe.cell.use].states
    return round(states * recipe.dims.layers * recipe.dims.model * rows * bytes_each)


_SERVED: dict[str, Callable[[Any, int, int, float], int]] = {"stack": _stack, "recurrent": _states}


def _laid_out(recipe: Architecture, sizes: Sizes) -> int:
    """Weights that generation copies into a faster layout: linear maps; cells are no linear maps."""
    blocks = 0 if recipe.form == "recurrent" else recipe.dims.layers * sizes.block_weights
    return blocks + sizes.head_weights


def _wide(recipe: Any, sizes: Sizes) -> int:
    if recipe.form == "recurrent":
        return round(sizes.block_weights / (2 * recipe.dims.model**2))
    return PASSING.get(recipe.ffn.use, 3) if recipe.form == "stack" else 3
