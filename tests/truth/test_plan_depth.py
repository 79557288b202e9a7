"""Deep models told from shallow ones: by hand, and beside the deep model traced whole."""

from __future__ import annotations

from typing import Any

import pytest

from danlu.core.spec import Spec
from danlu.models import Recipe
from danlu.nn.dims import Dims
from danlu.plan.depth import deepened, depths
from danlu.plan.work import Work
from danlu.train.traced import _phases, memory_of, traced

DIMS = {"vocab": 512, "model": 64, "heads": 4, "kv_heads": 2, "layers": 8, "ffn": 128, "context": 64}
WINDOW = Spec("both", {"a": "causal", "b": {"use": "window", "size": 16}})


def recipe(layers: int = 8, **parts: Any) -> Recipe:
    return Recipe(dims=Dims(**DIMS | {"layers": layers}), **parts)


def test_depths_hold_the_pattern() -> None:
    assert depths(recipe()) == (3, 4)
    assert depths(recipe(4)) is None
    assert depths(recipe(distinct=1)) is None
    assert depths(recipe(12, masks=(WINDOW, WINDOW, Spec("causal")))) == (3, 6)
    assert depths(recipe(14, masks=(WINDOW,) * 3 + (Spec("causal"),))) == (6, 10)


def test_growth_by_hand() -> None:
    """Three and four blocks of 10 bytes; the first moments see the blocks that are to come, the last those behind."""
    less = {("backward", part): {"kept": 30 - 10 * part, "gradients": 7 * part} for part in range(4)}
    more = {("backward", part): {"kept": 40 - 10 * part, "gradients": 7 * part} for part in range(5)}
    found = deepened(less, more, 3)
    assert found[("backward", 0)] == {"kept": 60}
    assert found[("backward", 1)] == {"kept": 50, "gradients": 7}
    assert found[("backward", -1)] == {"gradients": 7 * 6}
    assert found[("backward", -2)] == {"kept": 10, "gradients": 7 * 5}


WORKS: dict[str, dict[str, Any]] = {
    "plain": {},
    "windows": {"recipe": recipe(masks=(WINDOW, Spec("causal")))},
    "recomputed, two micro-batches, bf16": {"recompute": "blocks", "micros": 2, "precision": Spec("bf16")},
    "lora": {"adapter": Spec("lora")},
    "the last layers": {"adapter": Spec("last_layers", {"layers": 2})},
    "deep places only": {"adapter": Spec("lora", {"at": "blocks.{5,6}.*.q"})},
    "8 bits": {"optim": Spec("adamw8bit")},
}


@pytest.mark.parametrize("name", WORKS)
def test_the_deep_model_traced_whole(name: str) -> None:
    work = Work(**{"recipe": recipe(), "rows": 2, "length": 64, "chunk": 32, **WORKS[name]})
    whole = _phases(traced(work).moments())
    assert {p: sum(kinds.values()) for p, kinds in memory_of(work).phases.items()} == {
        p: sum(kinds.values()) for p, kinds in whole.items()
    }
