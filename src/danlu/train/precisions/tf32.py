"""Single precision with short products on the tensor cores of NVIDIA's GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from . import PRECISIONS, Precision


@PRECISIONS.add("tf32")
class Tf32(Precision):
    """Lets fp32 matrix products round their inputs to 10 bits of fraction; elsewhere than on CUDA it is fp32.

    Source: NVIDIA 2020, "Accelerating AI training with NVIDIA TF32 tensor cores".
    Truth:  tests/truth/test_precisions.py (the switch holds within a run only; on CUDA the rounding is seen).
    """

    @contextmanager
    def around_run(self) -> Iterator[None]:
        products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn.conv  # type: ignore[attr-defined]
        before = products.fp32_precision, convolutions.fp32_precision
        products.fp32_precision = convolutions.fp32_precision = "tf32"
        try:
            yield
        finally:
            products.fp32_precision, convolutions.fp32_precision = before

    def forward(self, device: str) -> AbstractContextManager[object]:
        return nullcontext()
