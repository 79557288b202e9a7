"""Stretches of a model that backward runs a second time, and what of the first time they may keep."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from .layout import Layout
from .remade import NOWHERE, current

aten = torch.ops.aten
ATTENTION = {
    getattr(aten, name).default
    for name in (
        "_scaled_dot_product_flash_attention_for_cpu",
        "_scaled_dot_product_flash_attention",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_cudnn_attention",
        "_scaled_dot_product_fused_attention_overrideable",
    )
}
PRODUCTS = {aten.mm.default: (0, 1), aten.addmm.default: (1, 2)}
"""Matrix products, and where among their arguments the factors stand."""


def again(
    run: Callable[[Any, Tensor, Layout], Tensor], part: Any, x: Tensor, layout: Layout,
    *, select: Callable[[], Any] | None = None,
) -> Tensor:  # fmt: skip
    """run(part, x, layout), of which only x is kept, and what ``select`` chooses; backward runs it again.

    Where what backward needs is kept elsewhere (``remade.lodged``), x is too.
    """
    chosen = {"context_fn": select} if select else {}
    if current() is NOWHERE:
        return checkpoint(run, part, x, layout, use_reentrant=False, **chosen)  # type: ignore[return-value]
    return checkpoint(_lodger(run, x), part, x.new_empty(0), layout, use_reentrant=False, **chosen)  # type: ignore[return-value]


def _lodger(run: Callable[[Any, Tensor, Layout], Tensor], x: Tensor) -> Callable[[Any, Tensor, Layout], Tensor]:
    """``run`` with x as it is the first time, and fetched from its lodging the second."""
    lodging = current()
    first, ticket = [x], lodging.pack(x.detach())

    def at(part: Any, device: Tensor, layout: Layout) -> Tensor:
        given = first.pop() if first else lodging.unpack(ticket).detach().requires_grad_(x_needs)
        return run(part, given, layout)

    x_needs = x.requires_grad
    return at


def keeping_narrow(width: int) -> Callable[[], Any]:
    """For ``select``: the answers of fused attention, and products of which neither side is wide.

    Narrow products are q, k, v and o, and an adapter's: at most ``width`` (the model's) out of at most twice as much.
    Attention costs the square of the length. Wide products (gate and up), which hold the most bytes a token, and all
    that is done number by number are computed again: about a third of a block's arithmetic for half of its bytes. What
    narrows (down) ends its block: nobody needs it, so it is neither computed again nor kept.
    Source: Korthikanti et al. 2022, arXiv:2205.05198, §5 (there all but attention's inside is kept).
    Truth:  tests/truth/test_recompute.py (equal gradients; bytes between "blocks" and "none").
    """
    return partial(create_selective_checkpoint_contexts, partial(_narrow, width))


def _narrow(width: int, context: Any, op: Any, *arguments: Any, **named: Any) -> CheckpointPolicy:
    if op in ATTENTION:
        return CheckpointPolicy.MUST_SAVE
    if op in PRODUCTS:
        left, right = (arguments[place] for place in PRODUCTS[op])
        if right.shape[-1] <= width and left.shape[-1] <= 2 * width:
            return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE
