"""How fast a run could be: FLOPs of one trained token, and what this machine reaches."""

from __future__ import annotations

from functools import cache

from ..models import Architecture
from ..plan import parameters
from ..plan.devices import device
from ..plan.operations import operations


def flops_a_token(architecture: Architecture, length: int) -> float:
    """FLOPs that training takes a token, in rows of ``length``: forward and both gradients, causal attention."""
    sizes, dims = parameters(architecture), architecture.dims
    row = operations(
        block_weights=sizes.block_weights * dims.layers,
        head_weights=sizes.head_weights,
        layers=sizes.attentions,
        heads=dims.heads,
        head=dims.head,
        length=length,
    )
    return row.training() / length


@cache
def rate_here(precision: str, threads: int) -> float:
    """FLOP/s of a matrix product on this machine, measured once a process (half a second)."""
    return device(precision=precision).rate(precision)
