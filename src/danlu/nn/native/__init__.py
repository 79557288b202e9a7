"""Kernels in C for few tokens on a CPU: products with weights of 32 to 4 bits, attention over blocks, whole steps.

Plain C beside this file, compiled when first asked for; without a compiler, or with DANLU_NATIVE=0, torch does the
work. Every number has one order of sums, whatever rows are beside it and however many threads there are.
"""

from __future__ import annotations

from .library import ready, why
from .matrix import Matrix, dense, int4, int8, unpacked
from .products import attend, product

__all__ = ["Matrix", "attend", "dense", "int4", "int8", "product", "ready", "unpacked", "why"]
