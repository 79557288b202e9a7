"""A layer of eight experts against that of transformers' Mixtral: the same weights and tokens, fp32, one thread.

Forward alone, and forward and backward; against transformers' loop over experts and its grouped product, A B A B,
CPU seconds, medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from table import medians, paired, row, text
from torch import Tensor, nn

from danlu.core.spec import Spec
from danlu.nn.dims import Dims
from danlu.nn.ffns import FFNS
from danlu.nn.layout import Layout

DIMS = Dims(vocab=1, model=512, heads=1, layers=1, context=1, ffn=1408)
EXPERTS, CHOICES, ROUNDS = 8, 2, 7
AIM = 1.0
WHY_ONE = "both read the same 17 MB of weights for one token, ours in six products, theirs in four"
WHY = "the two are level: single runs lie between 0.95 and 1.3"


def rows() -> list[dict[str, Any]]:
    """Tokens a CPU second of one layer."""
    torch.set_num_threads(1)
    return [
        _row(length, how, trained)
        for length, trained in ((1, False), (512, False), (2048, False), (2048, True))
        for how in ("eager", "grouped_mm")
    ]


def _row(length: int, how: str, trained: bool) -> dict[str, Any]:
    ours, theirs = (layer.train(trained) for layer in _layers(how))
    x = torch.randn(1, length, DIMS.model, generator=torch.Generator().manual_seed(1), requires_grad=trained)
    layout = Layout.dense(x[..., 0])
    sides = (lambda: ours(x, layout)), (lambda: theirs(x))
    torch.testing.assert_close(sides[0](), sides[1](), atol=1e-4, rtol=1e-4)
    repeats = max(1, 256 // length)
    timed = [
        _timed(side, [x, *layer.parameters()], trained, repeats)
        for side, layer in zip(sides, (ours, theirs), strict=True)
    ]
    a, b = medians(*paired(*timed, ROUNDS))
    what = (
        f"{'forward and backward' if trained else 'forward'} of {length} tokens, {EXPERTS} experts, {CHOICES} visited"
    )
    against = f"transformers' Mixtral, {how}"
    why = WHY_ONE if length == 1 else WHY
    return row(what, repeats * length / a, repeats * length / b, unit="tokens/CPU s", against=against, aim=AIM, why=why)


def _timed(run: Callable[[], Tensor], leaves: list[Tensor], trained: bool, repeats: int) -> Callable[[], float]:
    def once() -> float:
        for leaf in leaves:
            leaf.grad = None
        start = time.process_time()
        with torch.set_grad_enabled(trained):
            for _ in range(repeats):
                out = run()
                if trained:
                    out.square().mean().backward()
        return time.process_time() - start

    once()  # the first one allocates
    return once


def _layers(how: str) -> tuple[nn.Module, nn.Module]:
    """Ours and theirs, with the same weights."""
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

    router = {"use": "top_k", "k": CHOICES, "balance": 0.0}
    ours = Spec("moe", {"experts": EXPERTS, "router": router}).build(FFNS, DIMS)
    generator = torch.Generator().manual_seed(0)
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.05, generator=generator)
    config = MixtralConfig(
        hidden_size=DIMS.model, intermediate_size=DIMS.ffn, num_local_experts=EXPERTS, num_experts_per_tok=CHOICES
    )
    config._experts_implementation = how
    theirs = MixtralSparseMoeBlock(config)
    with torch.no_grad():
        theirs.gate.weight.copy_(ours.router.gate.weight)
        theirs.experts.gate_up_proj.copy_(torch.cat([ours.gate.weight, ours.up.weight], 1))
        theirs.experts.down_proj.copy_(ours.down.weight)
    return ours, theirs


if __name__ == "__main__":
    print(text([{"benchmark": "moe", **line} for line in rows()]))
