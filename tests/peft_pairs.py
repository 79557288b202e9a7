"""A model of transformers under an adapter of peft, and the same model and numbers of danlu, for parity tests."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from danlu.core.spec import Spec
from danlu.nn.sites import Delta
from danlu.peft.attached import attach
from danlu.peft.deltas import deltas_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    peft = pytest.importorskip("peft")

SMALL = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 32, "tie_word_embeddings": False,
}  # fmt: skip
"""llama has no biases, qwen2 has some on q, k and v."""
LEAVES = {
    "self_attn.q_proj": "attention.q", "self_attn.k_proj": "attention.k", "self_attn.v_proj": "attention.v",
    "self_attn.o_proj": "attention.o", "mlp.gate_proj": "ffn.gate", "mlp.up_proj": "ffn.up", "mlp.down_proj": "ffn.down",
}  # fmt: skip
TOKENS = torch.randint(0, 50, (2, 9), generator=torch.Generator().manual_seed(1))

Same = Callable[[Any, Any], list[tuple[Tensor, Tensor]]]
"""From a layer of peft's and our delta: their parameters beside ours, equally many numbers in the same order."""


def paired(twins: Any, kind: str, config: Any, spec: Spec, same: Same) -> tuple[Any, Any, list[tuple[Tensor, Tensor]]]:
    """(peft's model, ours, their parameters beside ours), with random numbers everywhere, both in evaluation."""
    theirs, ours, _ = twins(kind, **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = peft.get_peft_model(theirs, config).eval()
    attach(ours, spec)
    pairs = [pair for layer, delta in _beside(wrapped, ours) for pair in same(layer, delta)]
    torch.manual_seed(7)
    with torch.no_grad():
        for their, our in pairs:
            their.add_(torch.randn_like(their) * 0.1)
            our.copy_(their.view_as(our))
    return wrapped, ours.eval(), pairs


def _beside(wrapped: Any, ours: Any) -> Iterator[tuple[Any, Delta]]:
    deltas = deltas_of(ours, "default")
    layers = dict(wrapped.base_model.model.named_modules())
    found = 0
    for number in range(SMALL["num_hidden_layers"]):
        for theirs, our in LEAVES.items():
            if (place := f"blocks.{number}.sublayers.{our}") in deltas:
                yield layers[f"model.layers.{number}.{theirs}"], deltas[place]
                found += 1
    assert found == len(deltas)


def logits(theirs: Any, ours: Any) -> tuple[Tensor, Tensor]:
    return theirs(TOKENS).logits, ours(TOKENS)


def differentiate(theirs: Any, ours: Any) -> None:
    """Gradients of one and the same loss on both sides."""
    generator = torch.Generator().manual_seed(2)
    both = logits(theirs, ours)
    weight = torch.randn(both[0].shape, generator=generator)
    for found in both:
        (found.softmax(-1) * weight).sum().backward()


def assert_alike(theirs: Any, ours: Any, pairs: list[tuple[Tensor, Tensor]]) -> None:
    """Equal logits and equal gradients of every number that trains."""
    torch.testing.assert_close(*logits(theirs, ours)[::-1], atol=2e-5, rtol=1e-4)
    differentiate(theirs, ours)
    for their, our in pairs:
        assert their.grad is not None
        assert their.grad.abs().max() > 1e-6
        torch.testing.assert_close(our.grad, their.grad.view_as(our), atol=2e-6, rtol=2e-3)
