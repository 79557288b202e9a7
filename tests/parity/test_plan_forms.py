"""Predicted bytes of recurrent models beside those that torch's allocator saw, and what plans of other forms say."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from train_tiny import Fixed

from danlu.core.batch import Batch
from danlu.core.spec import Spec
from danlu.models import Architecture, build, recipe_of
from danlu.nn.model import Model
from danlu.objectives import OBJECTIVES
from danlu.plan import Plan, Work, allocating, inference, memory
from danlu.plan.devices import device
from danlu.train.optims.adamw import AdamW
from danlu.train.precisions import PRECISIONS
from danlu.train.speed import flops_a_token
from danlu.train.trainer import Trainer

WIDE = {"model": 128, "layers": 2, "vocab": 256, "rows": 2, "length": 256}
NARROW = {"model": 64, "layers": 3, "vocab": 256, "rows": 4, "length": 256}
CASES: dict[str, dict[str, Any]] = {
    "lstm": WIDE,
    "lstm, narrow": NARROW,
    "lstm, packed": NARROW | {"documents": 4},
    "lstm, recomputed": WIDE | {"recompute": True},
    "lstm, bf16": WIDE | {"precision": "bf16"},
    "lstm, dropout": WIDE | {"dropout": 0.1},
    "lstm, weights dominate": WIDE | {"vocab": 2048, "rows": 1, "length": 32},
    "lstm, two micro-batches": WIDE | {"micros": 2},
    "rnn": WIDE | {"cell": "rnn"},
    "rnn, packed": NARROW | {"cell": "rnn", "documents": 4},
    "rnn, recomputed": WIDE | {"cell": "rnn", "recompute": True},
    "rnn, untied": WIDE | {"cell": "rnn", "tied": False},
}


def batch_of(rows: int, length: int, vocab: int, documents: int) -> Batch:
    tokens = torch.randint(0, vocab, (rows, length), generator=torch.Generator().manual_seed(1))
    at = torch.arange(length)
    segment = at * documents // length + 1
    starts = torch.stack([at[segment == number].min() for number in range(1, documents + 1)])
    wide = [x.expand(rows, length).contiguous() for x in (segment, at - starts[segment - 1])]
    return Batch(tokens, tokens.roll(-1, 1), torch.ones(rows, length), *wide)


def nbytes(model: Model) -> int:
    return sum(p.nbytes for p in model.parameters())


@pytest.mark.parametrize("name", CASES)
def test_peak_of_a_step(name) -> None:
    case = {"documents": 1, "micros": 1, "precision": "fp32", "recompute": False, **CASES[name]}
    parts = {key: case[key] for key in ("cell", "dropout", "tied") if key in case}
    sizes = {"model": case["model"], "layers": case["layers"], "context": 256}
    model = build(Spec("recurrent", sizes | parts), vocab=case["vocab"])
    model.recompute = case["recompute"]
    batch = batch_of(case["rows"] * case["micros"], case["length"], case["vocab"], case["documents"])
    trainer = Trainer(
        model, OBJECTIVES["next_token"](256), Fixed(batch), AdamW(lr=1e-3),
        precision=PRECISIONS[case["precision"]](), micro=case["rows"],
    )  # fmt: skip
    trainer.fit(1)
    trainer.optimizer.zero_grad(set_to_none=True)
    columns = (batch.tokens, batch.targets, batch.weight, batch.segment, batch.position)
    before = 3 * nbytes(model) + sum(x.nbytes for x in columns)
    gc.collect()
    with allocating() as peak:
        trainer.fit(2)
    work = Work(
        recipe=model.recipe, rows=case["rows"], length=case["length"], micros=case["micros"], chunk=256,
        precision=case["precision"], recompute=case["recompute"], documents=case["documents"] > 1,
    )  # fmt: skip
    assert memory(work).peak_bytes == pytest.approx(before + peak.bytes_, rel=0.05), memory(work).phases


def newborn(name: str, **more: Any) -> Architecture:
    return recipe_of(Spec(name, {"model": 64, "layers": 2, "context": 128} | more), vocab=300)


@pytest.mark.parametrize("name", ["t5", "transformer"])
def test_an_encoder_decoder_is_planned_as_far_as_it_can_be_counted(name) -> None:
    """The plan says what it leaves out; weights, gradients and the optimizer's states are exact."""
    work = Work(recipe=newborn(name, heads=4), rows=2, length=64)
    plan = Plan(title="it", work=work, device=device("a100"))
    assert "what is kept for the way back is not counted for this form of model" in plan.table()
    assert plan.said == tuple(plan.data()["notes"])
    weights = 4 * plan.sizes.total
    assert plan.memory.phases["step"] | {"batch": 0} == {
        "weights": weights, "optimizer": 2 * weights, "gradients": weights, "batch": 0,
    }  # fmt: skip
    assert plan.check() is plan
    kept = plan.inference.phases["decode"]["kv cache"] - 16 * 64
    assert kept == 2 * 2 * 2 * 64 * 64 * 4  # of itself and of what it looks at, k and v, layers, tokens, channels
    assert plan.data()["flops_a_step"] > 0


@pytest.mark.parametrize("cell", ["lstm", "rnn"])
def test_a_recurrent_plan_says_all(cell) -> None:
    recipe = newborn("recurrent", cell=cell)
    plan = Plan(title="it", work=Work(recipe=recipe, rows=2, length=64), device=device("a100"))
    assert plan.said == ()
    assert "note" not in plan.table()
    gates = {"lstm": 4, "rnn": 1}[cell]
    weights = 2 * gates * 2 * 64 * 64  # layers, input and state
    assert flops_a_token(recipe, 64) == 3 * 2 * (weights + 300 * 64)
    one, more = (inference(recipe, rows=1, length=n, bytes_each=2).phases["decode"]["kv cache"] for n in (64, 128))
    assert more - one == 16 * 64  # a state does not grow; only the places of tokens do
