"""IA3 against peft's with the same numbers: logits, gradients, merged weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft_pairs import TOKENS, assert_alike, paired, peft
from torch import Tensor

from danlu.assembly import merge
from danlu.core.spec import Spec


def same(layer: Any, delta: Any) -> list[tuple[Tensor, Tensor]]:
    return [(layer.ia3_l["default"], delta.scale)]


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_logits_gradients_and_merged_weights(kind, twins) -> None:
    config = peft.IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    )
    theirs, ours, pairs = paired(twins, kind, config, Spec("ia3"), same)
    assert_alike(theirs, ours, pairs)
    with torch.no_grad():
        whole = ours(TOKENS)
    torch.testing.assert_close(merge(ours)(TOKENS), whole, atol=2e-5, rtol=1e-4)


def test_as_many_numbers_as_theirs(twins) -> None:
    config = peft.IA3Config(
        target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM"
    )
    theirs, ours, _ = paired(twins, "llama", config, Spec("ia3"), same)
    assert theirs.get_nb_trainable_parameters()[0] == sum(p.numel() for p in ours.parameters() if p.requires_grad)
