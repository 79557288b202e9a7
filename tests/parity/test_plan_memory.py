"""Predicted bytes beside those that torch's allocator saw, over families, sizes, precisions and ways to cut a step."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from danlu.core.batch import Batch
from danlu.core.spec import Spec
from danlu.models import Recipe, Stack
from danlu.nn.dims import Dims
from danlu.nn.layout import Layout
from danlu.objectives import OBJECTIVES
from danlu.plan import Work, allocating, inference, memory
from danlu.plan.saved import Widths, block
from danlu.train.optims import OPTIMS
from danlu.train.precisions import PRECISIONS
from danlu.train.trainer import Trainer

SIZES = {"vocab": 1024, "model": 192, "heads": 6, "kv_heads": 2, "layers": 3, "ffn": 512, "context": 256}
WINDOW = Spec("both", {"a": "causal", "b": {"use": "window", "size": 64}})
GPT = {
    "ffn": Spec("gelu", {"bias": True}),
    "norm": Spec("layer"),
    "position": Spec("learned"),
    "bias": True,
    "out_bias": True,
}


@dataclass
class Case:
    """One way to train; ``model`` changes the recipe, ``sizes`` the dims, the rest the step."""

    name: str
    sizes: dict[str, int] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    step: dict[str, Any] = field(default_factory=dict)
    documents: int = 1
    optim: str = "adamw"

    def recipe(self) -> Recipe:
        return Recipe(dims=Dims(**{**SIZES, **self.sizes}), **self.model)

    def work(self) -> Work:
        settings = {"rows": 2, "length": 256, "chunk": 256, "optimizer_bytes": 8, "documents": self.documents > 1}
        return Work(recipe=self.recipe(), **{**settings, **self.step})


CASES = [
    Case("llama"),
    Case("gpt2", {"kv_heads": 6}, GPT),
    Case("post-norm relu", model={"ffn": Spec("relu"), "wiring": Spec("post"), "norm": Spec("layer")}),
    Case("qwen3: norms of q and k", model={"head_norm": Spec("rms")}),
    Case("window", model={"masks": (WINDOW,)}),
    Case("wide window", model={"masks": (Spec("both", {"a": "causal", "b": {"use": "window", "size": 256}}),)}),
    Case("dropout", model={"dropout": 0.1}),
    Case("packed documents", documents=4),
    Case("recomputed", step={"recompute": True}),
    Case("recomputed, packed, wide", {"ffn": 1024}, step={"recompute": True}, documents=3),
    Case("recomputed gpt2", {"kv_heads": 6}, GPT, {"recompute": True}),
    Case("bf16", {"layers": 2}, step={"precision": "bf16", "rows": 1, "length": 128, "chunk": 64}),
    Case(
        "bf16 recomputed packed",
        step={"precision": "bf16", "recompute": True, "rows": 1, "length": 128, "chunk": 64},
        documents=4,
    ),
    Case("fp16", {"layers": 2}, step={"precision": "fp16", "chunk": 64, "rows": 1, "length": 128}),
    Case("shared layers", {"layers": 4}, {"distinct": 1}, {"rows": 1, "length": 64}),
    Case("two groups of layers", {"layers": 4}, {"distinct": 2}, {"rows": 1, "length": 64}),
    Case("logits dominate", {"vocab": 8192}, step={"chunk": 1024, "rows": 2}),
    Case("weights dominate", {"vocab": 4096, "layers": 4}, step={"rows": 1, "length": 64}),
    Case("weights dominate, untied", {"vocab": 4096}, {"tied": False}, {"rows": 1, "length": 64}),
    Case("three micro-batches", step={"rows": 1, "micros": 3}),
    Case("three micro-batches, untied", {"vocab": 4096}, {"tied": False}, {"rows": 1, "length": 64, "micros": 3}),
    Case("plain gradient descent", step={"optimizer_bytes": 0}, optim="sgd"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_peak_of_a_step(case: Case) -> None:
    """Weights, optimizer and batch are there before the step; the rest is what the allocator saw during the second."""
    work = case.work()
    trainer = trainer_of(case, work)
    if trainer.precision.scale:
        trainer.precision.scale.value = 1.0  # no step is skipped, so the optimizer has its states
    trainer.fit(1)
    trainer.optimizer.zero_grad(set_to_none=True)
    before = held(trainer)
    gc.collect()
    with allocating() as peak:
        trainer.fit(2)
    measured = before + peak.bytes_
    assert memory(work).peak_bytes == pytest.approx(measured, rel=0.03), memory(work).phases


KEEPING = [c for c in CASES if not c.step.get("recompute") and c.step.get("precision") != "fp16" and c.name != "window"]


@pytest.mark.parametrize("case", KEEPING, ids=lambda case: case.name)
def test_what_a_block_keeps(case: Case) -> None:
    """Two models that differ by one block: what a forward pass leaves behind more is what a block keeps."""
    work = case.work()
    more, less = (left_behind(case, work, layers) for layers in (3, 2))
    widths = Widths.of(work.precision)
    copies = 2 * matrices(work.recipe) if widths.autocast else 0
    expected = work.slots * sum(block(work.recipe, widths).values()) + copies
    assert more - less == pytest.approx(expected, rel=0.003)


def test_generation() -> None:
    """Weights are there before; copies, cache and logits come while it runs."""
    from danlu.infer.packed import Prepared
    from danlu.infer.runner import Runner

    recipe = Recipe(dims=Dims(**SIZES))
    model = filled(Stack(recipe)).eval()
    prompts, limit = [[1, 2, 3, 4] * 48] * 4, 64
    gc.collect()
    with allocating() as peak:
        runner = Runner(Prepared(model))
        logits = runner.start(prompts, limit)
        for _ in range(limit - 1):
            logits = runner.step(logits.argmax(-1))
    measured = peak.bytes_ + sum(p.nbytes for p in model.parameters())
    assert inference(recipe, rows=4, length=256, prompt=192).peak_bytes == pytest.approx(measured, rel=0.05)


def trainer_of(case: Case, work: Work) -> Trainer:
    model = filled(Stack(work.recipe))
    model.recompute = work.recompute
    objective = OBJECTIVES["next_token"](work.chunk)
    stream = Same(batch_of(work.rows * work.micros, work.length, work.recipe.dims.vocab, case.documents))
    optim = OPTIMS[case.optim](lr=1e-3)
    return Trainer(model, objective, stream, optim, precision=PRECISIONS[work.precision](), micro=work.rows)


def held(trainer: Trainer) -> int:
    weights = sum(p.nbytes for p in trainer.model.parameters())
    states = (v for state in trainer.optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor))
    return weights + sum(v.nbytes for v in states) + trainer.stream.bytes_


class Same:
    """A stream of one batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.bytes_ = sum(x.nbytes for x in (batch.tokens, batch.targets, batch.weight, batch.segment, batch.position))

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.batch

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        assert not state


def batch_of(rows: int, length: int, vocab: int, documents: int) -> Batch:
    tokens = torch.randint(0, vocab, (rows, length), generator=torch.Generator().manual_seed(1))
    at = torch.arange(length)
    segment = at * documents // length + 1
    starts = torch.stack([at[segment == number].min() for number in range(1, documents + 1)])
    position = at - starts[segment - 1]
    wide = lambda x: x.expand(rows, length).contiguous()  # noqa: E731
    return Batch(tokens, tokens.roll(-1, 1), torch.ones(rows, length), wide(segment), wide(position))


def filled(model: Stack) -> Stack:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.02)
    return model


def matrices(recipe: Recipe) -> int:
    return sum(p.numel() for p in Stack(recipe).blocks[0].parameters() if p.ndim == 2)


def left_behind(case: Case, work: Work, layers: int) -> int:
    """Bytes that a forward pass holds for its backward pass."""
    sizes = {**SIZES, **case.sizes, "layers": layers}
    model = filled(Stack(Recipe(dims=Dims(**sizes), **case.model))).train()
    batch = batch_of(work.rows, work.length, sizes["vocab"], case.documents)
    with allocating() as peak, PRECISIONS[work.precision]().forward("cpu"):
        hidden = model.hidden(batch.tokens, Layout.of(batch.position, batch.segment))
    assert hidden.requires_grad
    return peak.left
