"""DoRA against peft's with the same numbers: logits, gradients with the norm held constant, merged weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft_pairs import LEAVES, TOKENS, assert_alike, paired, peft
from torch import Tensor

from danlu.assembly import merge
from danlu.core.spec import Spec

TARGETS = [leaf.rpartition(".")[2] for leaf in LEAVES]


def same(layer: Any, delta: Any) -> list[tuple[Tensor, Tensor]]:
    return [
        (layer.lora_A["default"].weight, delta.down.weight),
        (layer.lora_B["default"].weight, delta.up.weight),
        (layer.lora_magnitude_vector["default"].weight, delta.magnitude),
    ]


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_logits_gradients_and_merged_weights(kind, twins) -> None:
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS, use_dora=True, task_type="CAUSAL_LM")
    theirs, ours, pairs = paired(twins, kind, config, Spec("dora", {"rank": 4, "alpha": 6, "at": "all"}), same)
    assert_alike(theirs, ours, pairs)
    torch.testing.assert_close(merge(ours)(TOKENS), theirs.merge_and_unload()(TOKENS).logits, atol=2e-5, rtol=1e-4)


def test_magnitudes_begin_as_theirs(twins) -> None:
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=TARGETS, use_dora=True, task_type="CAUSAL_LM")
    begun: list[tuple[Tensor, Tensor]] = []

    def noted(layer: Any, delta: Any) -> list[tuple[Tensor, Tensor]]:
        begun.append((delta.magnitude.clone(), layer.lora_magnitude_vector["default"].weight.clone()))
        return []

    paired(twins, "llama", config, Spec("dora", {"rank": 4, "alpha": 6, "at": "all"}), noted)
    assert len(begun) == 14
    for our, their in begun:
        torch.testing.assert_close(our, their)
