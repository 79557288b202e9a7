"""The mix-and-match adapter."""

from __future__ import annotations

from . import ADAPTERS, Adapter
from .parallel_adapter import ParallelAdapter
from .prefix import Prefix
from .sums import Sum


@ADAPTERS.add("mam")
class Mam(Sum):
    """Gives attention a few virtual keys and the feed-forward most of the numbers, in a network beside it.

    attention: k ← [P_k; k], v ← [P_v; v];  feed-forward: y ← y + s · W_up f(W_down x).  The paper's sizes unless
    others are given: ``keys`` is prefix with length 30, ``beside`` is parallel_adapter with width 512 and scale 4.

    Trains what its two parts train.
    Raises: ConfigError if they want the same place; what its parts raise.
    Source: He et al. 2021, arXiv:2110.04366, §4.6 (MAM adapter).
    Truth:  tests/truth/test_peft_sums.py (the same numbers in both parts, attached and active together).
    """

    exact_start = False

    def __init__(self, *, keys: Adapter | None = None, beside: Adapter | None = None) -> None:
        self.parts = (keys or Prefix(length=30, shift=False), beside or ParallelAdapter(width=512))
