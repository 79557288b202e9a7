"""Tensors that backward makes again instead of keeping: cheap to compute, large to hold."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

_state = threading.local()


def remade(tensor: Tensor, make: Callable[[], Tensor]) -> AbstractContextManager[Any]:
    """Whatever is saved for backward within, and is ``tensor`` or a view of all of it, is made by ``make`` instead.

    ``make`` answers the same values and holds its inputs itself; it runs without recording a gradient.
    """
    if not tensor.requires_grad or getattr(_state, "kept", False):
        return nullcontext()
    storage, count = tensor.untyped_storage().data_ptr(), tensor.numel()

    def pack(saved: Tensor) -> Tensor | tuple[torch.Size, tuple[int, ...]]:
        same = saved.numel() == count and saved.untyped_storage().data_ptr() == storage
        return (saved.shape, saved.stride()) if same else saved

    def unpack(held: Tensor | tuple[torch.Size, tuple[int, ...]]) -> Tensor:
        if isinstance(held, Tensor):
            return held
        with torch.no_grad():
            return make().as_strided(*held)

    return saved_tensors_hooks(pack, unpack)


@contextmanager
def kept() -> Iterator[None]:
    """Within, everything is kept: for whole blocks that are recomputed, where remaking parts would only cost."""
    before, _state.kept = getattr(_state, "kept", False), True
    try:
        yield
    finally:
        _state.kept = before
