"""Predicted bytes beside those that torch's allocator saw while the real trainer stepped."""

from __future__ import annotations

from typing import Any

import pytest

from danlu.core.spec import Spec
from danlu.models import Architecture, Recipe, recipe_of
from danlu.nn.dims import Dims
from danlu.plan.work import Work
from danlu.train.forecast import memory_of
from danlu.train.measured import allocated

SIZES = {"vocab": 1024, "model": 128, "heads": 4, "kv_heads": 2, "layers": 2, "ffn": 320, "context": 256}
WINDOW = Spec("both", {"a": "causal", "b": {"use": "window", "size": 64}})


def stack(**parts: Any) -> Recipe:
    return Recipe(dims=Dims(**SIZES), **parts)


def family(name: str, **sizes: Any) -> Architecture:
    return recipe_of(Spec(name, {"model": 128, "layers": 2, "context": 256} | sizes), vocab=1024)


CASES: dict[str, dict[str, Any]] = {
    "llama": {},
    "gpt2, dropout": {"recipe": family("gpt2", heads=4, dropout=0.1)},
    "post-norm relu": {"recipe": stack(ffn=Spec("relu"), wiring=Spec("post"), norm=Spec("layer"))},
    "norms of q and k": {"recipe": stack(head_norm=Spec("rms"))},
    "window": {"recipe": stack(masks=(WINDOW,))},
    "alibi": {"recipe": family("bloom", heads=4)},
    "shared layers": {"recipe": stack(distinct=1)},
    "untied, weights dominate": {"recipe": stack(tied=False), "rows": 1, "length": 32},
    "packed": {"documents": 4},
    "recomputed": {"recompute": "blocks"},
    "bf16 recomputed packed": {"recompute": "blocks", "precision": Spec("bf16"), "documents": 3},
    "fp16": {"precision": Spec("fp16")},
    "three micro-batches": {"rows": 1, "micros": 3},
    "a third counted": {"counted": 0.33},
    "momentum": {"optim": Spec("sgd", {"momentum": 0.9})},
    "masked, both directions": {"recipe": family("bert", heads=4), "objective": Spec("masked")},
    "encoder and decoder": {"recipe": family("t5", heads=4), "objective": Spec("spans")},
    "experts": {"recipe": family("mixtral", heads=4)},
    "lstm": {"recipe": family("recurrent")},
    "lstm, recomputed": {"recipe": family("recurrent"), "recompute": "blocks"},
    "lstm, packed": {"recipe": family("recurrent"), "documents": 3},
    "qlora": {"adapter": Spec("lora"), "storage": Spec("nf4"), "precision": Spec("bf16")},
}


QUICK = ("llama", "packed", "lstm", "qlora")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CASES])
def test_peak_of_a_step(name: str) -> None:
    work = Work(**{"recipe": stack(), "rows": 2, "length": 128, "chunk": 128, **CASES[name]})
    assert memory_of(work).peak_bytes == pytest.approx(allocated(work), rel=0.02), memory_of(work).phases


def test_kinds_that_can_be_counted() -> None:
    """Weights, gradients and the states of AdamW; what an adapter leaves alone has neither of the two."""
    work = Work(recipe=stack(), rows=2, length=128)
    weights = 4 * sum(p.numel() for p in _parameters(work.recipe))
    held = memory_of(work).phases["step"]
    assert held["weights"] == weights
    assert held["gradients"] == weights
    assert held["optimizer"] == pytest.approx(2 * weights, rel=0.001)
    adapted = memory_of(Work(recipe=stack(), rows=2, length=128, adapter=Spec("lora", {"rank": 4}))).phases["step"]
    assert adapted["frozen weights"] == weights
    assert adapted["gradients"] == adapted["weights"] < weights / 20
    assert (
        "activations: adapter"
        in memory_of(Work(recipe=stack(), rows=2, length=128, adapter=Spec("lora", {"rank": 4}))).phases["loss"]
    )


def _parameters(recipe: Recipe) -> Any:
    from danlu.models import on_meta

    return on_meta(recipe).parameters()
