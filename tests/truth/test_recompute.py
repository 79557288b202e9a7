"""keep, none, ops and blocks: one gradient, four prices."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from train_tiny import Fixed, packed, tiny_model

from danlu.core.spec import Spec
from danlu.models import Stack
from danlu.objectives.next_token import NextToken
from danlu.peft.attached import attach
from danlu.plan.peak import allocating
from danlu.train.optims.sgd import Sgd
from danlu.train.trainer import Trainer

WAYS = ("keep", "none", "ops", "blocks")
LARGER = {"model": 64, "heads": 4, "ffn": 192, "layers": 6, "context": 128}


def made(way: str, dropout: float = 0.0, **changes: Any) -> Stack:
    model = tiny_model(**changes)
    for block in model.blocks:
        block.dropout = dropout
    model.recompute = way
    return model


def gradients(model: Stack, batch: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    NextToken(13).loss(model, batch).total.backward()
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("way", WAYS[1:])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dropout": 0.2},
        {"kv_heads": 2},
        {"use": "gpt2"},
        {"use": "mixtral", "experts": 4},
    ],
    ids=["llama", "dropout", "grouped", "gpt2", "moe"],
)
def test_gradients_are_equal(way: str, changes: dict[str, Any]) -> None:
    batch = packed(4, 24)
    kept, other = (gradients(made(w, **changes), batch) for w in ("keep", way))
    for name in kept:
        torch.testing.assert_close(other[name], kept[name], rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("way", WAYS[1:])
def test_gradients_of_an_adapter_are_equal(way: str) -> None:
    def one(which: str) -> dict[str, torch.Tensor]:
        model = made(which)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            attach(model, Spec("lora", {"rank": 4, "dropout": 0.1}))
        return gradients(model, packed(4, 24))

    kept, other = one("keep"), one(way)
    for name in kept:
        torch.testing.assert_close(other[name], kept[name], rtol=1e-6, atol=1e-6, msg=name)


def test_bytes_fall_from_way_to_way() -> None:
    found = {}
    for way in WAYS:
        model, batch = made(way, **LARGER), packed(8, 128)
        trainer = Trainer(model, NextToken(64), Fixed(batch), Sgd(lr=0.1))
        trainer.update([batch])
        trainer.optimizer.zero_grad(set_to_none=True)
        gc.collect()
        with allocating() as peak:
            trainer.update([batch])
        found[way] = peak.bytes_
    assert found["keep"] > 1.15 * found["none"]
    assert found["none"] > 1.3 * found["ops"]
    assert found["ops"] > 1.3 * found["blocks"]


def products(way: str) -> int:
    """FLOPs of matrix products and attention in a forward and a backward pass, as torch counts them."""
    model = made(way, **LARGER)
    with FlopCounterMode(display=False) as counter:
        model.hidden(packed(2, 128).tokens).square().sum().backward()
    return counter.get_total_flops()


def test_ops_computes_wide_products_again_and_no_other() -> None:
    """By hand, a token and layer: gate and up, 2 · 2 · M · ffn; blocks: all but down, which nobody needs."""
    none, tokens, layers, wide, inner = products("none"), 256, 6, 64, 192
    assert products("keep") == none
    assert products("ops") - none == tokens * layers * 2 * 2 * wide * inner
    again = products("blocks") - none
    narrow = 4 * 2 * wide * wide
    attention = again - tokens * layers * (2 * 2 * wide * inner + narrow)
    assert attention >= 0, "attention, q, k, v and o besides"
    assert products("ops") < products("blocks")
