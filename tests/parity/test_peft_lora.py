"""LoRA against peft's with the same numbers: logits, gradients, merged weights, rsLoRA, every target."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft_pairs import LEAVES, TOKENS, assert_alike, paired, peft
from torch import Tensor

from danlu.assembly import merge
from danlu.core.spec import Spec

THEIRS = {leaf.rpartition(".")[2]: our.rpartition(".")[2] for leaf, our in LEAVES.items()}


def same(layer: Any, delta: Any) -> list[tuple[Tensor, Tensor]]:
    return [
        (layer.lora_A["default"].weight, delta.down.weight),
        (layer.lora_B["default"].weight, delta.up.weight),
    ]


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("targets", [list(THEIRS), ["q_proj", "v_proj"]], ids=["all", "qv"])
@pytest.mark.parametrize("root", [False, True], ids=["rank", "root"])
def test_logits_and_gradients(kind, targets, root, twins) -> None:
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=targets, use_rslora=root, task_type="CAUSAL_LM")
    at = [THEIRS[name] for name in targets]
    spec = Spec("lora", {"rank": 4, "alpha": 6, "at": at, "scaling": "root" if root else "rank"})
    theirs, ours, pairs = paired(twins, kind, config, spec, same)
    assert_alike(theirs, ours, pairs)
    assert theirs.get_nb_trainable_parameters()[0] == sum(p.numel() for p in ours.parameters() if p.requires_grad)


def test_merged(twins) -> None:
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=list(THEIRS), task_type="CAUSAL_LM")
    spec = Spec("lora", {"rank": 4, "alpha": 6, "at": "all"})
    theirs, ours, _ = paired(twins, "qwen2", config, spec, same)
    whole = theirs(TOKENS).logits
    torch.testing.assert_close(merge(ours)(TOKENS), theirs.merge_and_unload()(TOKENS).logits, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(ours(TOKENS), whole, atol=2e-5, rtol=1e-4)
