"""AdaLoRA against peft's with the same numbers and gradients: logits, gradients, importance, budget, masks."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.adalora.layer import RankAllocator
from peft_pairs import LEAVES, assert_alike, paired, peft
from torch import Tensor

from danlu.core.spec import Spec
from danlu.peft.adalora import Budget
from danlu.peft.deltas import deltas_of

TARGETS = [leaf.rpartition(".")[2] for leaf in LEAVES]
STEPS, FIRST, LAST, WARMUP, FINAL, EVERY = 40, 6, 2, 5, 8, 3


def same(layer: Any, delta: Any) -> list[tuple[Tensor, Tensor]]:
    return [
        (layer.lora_A["default"], delta.right),
        (layer.lora_B["default"], delta.left),
        (layer.lora_E["default"], delta.values),
    ]


def config() -> Any:
    return peft.AdaLoraConfig(
        init_r=FIRST, target_r=LAST, tinit=WARMUP, tfinal=FINAL, deltaT=EVERY, total_step=STEPS, beta1=0.8, beta2=0.7,
        lora_alpha=12, target_modules=TARGETS, task_type="CAUSAL_LM", orth_reg_weight=0.5,
    )  # fmt: skip


def spec() -> Spec:
    return Spec(
        "adalora",
        {"rank": LAST, "initial": FIRST, "alpha": 12, "at": "all", "phases": [WARMUP, FINAL], "interval": EVERY,
         "betas": [0.8, 0.7]},
    )  # fmt: skip


def test_logits_and_gradients(twins) -> None:
    assert_alike(*paired(twins, "qwen2", config(), spec(), same))


def test_the_budget_of_every_step(twins) -> None:
    theirs, _, _ = paired(twins, "llama", config(), spec(), same)
    allocator = RankAllocator(theirs, theirs.peft_config["default"], "default")
    budget = Budget(FIRST * 14, LAST * 14, WARMUP, FINAL, STEPS)
    assert [budget.at(step) for step in range(1, STEPS + 1)] == [
        allocator.budget_schedule(step)[0] for step in range(1, STEPS + 1)
    ]


def test_importance_and_masks_after_the_same_gradients(twins) -> None:
    """A walk of both sides in lockstep: random gradients, the same small moves, each side's own masks."""
    theirs, ours, pairs = paired(twins, "llama", config(), spec(), same)
    deltas = list(deltas_of(ours, "default").values())
    tending = ours.switch.adapters["default"].adapter.tending(ours, "default", STEPS)
    generator, masked = torch.Generator().manual_seed(3), []
    for step in range(1, STEPS + 1):
        for their, our in pairs:
            our.grad = torch.randn(our.shape, generator=generator)
            their.grad = our.grad.view(their.shape).clone()
        tending.graded(step)
        theirs.base_model.update_and_allocate(step)
        tending.moved(step)
        for their, our in pairs:
            torch.testing.assert_close(our.data, their.data.view(our.shape))
        masked.append(sum(int((delta.values == 0).sum()) for delta in deltas))
        with torch.no_grad():
            for their, our in pairs:
                our.sub_(0.01 * our.grad)
                their.sub_(0.01 * their.grad)
    assert masked[WARMUP - 1] == 0
    assert masked[STEPS - FINAL - 1 :] == [(FIRST - LAST) * 14] * (FINAL + 1)
    assert len({int(delta.kept.sum()) for delta in deltas}) > 2  # some maps keep more than others
