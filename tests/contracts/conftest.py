"""Tiny newborn models of any parts, for the batteries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from danlu.core.spec import Spec
from danlu.models import Stack, build

SIZES = {"model": 32, "layers": 2, "heads": 4, "kv_heads": 2, "context": 32, "width": 48}


@pytest.fixture
def newborn() -> Callable[..., Stack]:
    """A decoder of the given parts in evaluation mode, with weights large enough for errors to show."""

    def make(**parts: Any) -> Stack:
        model = build(Spec("decoder", {**SIZES, **parts}), vocab=50).eval()
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        return model

    return make


@pytest.fixture
def tokens() -> Tensor:
    """(2, 12) token ids."""
    return torch.randint(0, 50, (2, 12), generator=torch.Generator().manual_seed(1))
