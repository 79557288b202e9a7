"""Tensors that backward makes again instead of keeping: cheap to compute, large to hold."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

_here = threading.local()
Place = tuple[torch.Size, tuple[int, ...]]


class Lodging(ABC):
    """Somewhere else to keep what backward needs."""

    @abstractmethod
    def pack(self, tensor: Tensor) -> Any:
        """What is held in its stead: a ticket, or the tensor itself."""

    @abstractmethod
    def unpack(self, ticket: Any) -> Tensor: ...


class _Nowhere(Lodging):
    def pack(self, tensor: Tensor) -> Any:
        return tensor

    def unpack(self, ticket: Any) -> Tensor:
        return ticket


NOWHERE = _Nowhere()


@contextmanager
def lodged(lodging: Lodging) -> Iterator[None]:
    """Within, what is saved for backward is kept by ``lodging``."""
    before, _here.lodging = current(), lodging
    try:
        with saved_tensors_hooks(lodging.pack, lodging.unpack):
            yield
    finally:
        _here.lodging = before


def current() -> Lodging:
    """Who keeps what is saved here."""
    return getattr(_here, "lodging", NOWHERE)


def remade(tensor: Tensor, make: Callable[..., Tensor], *inputs: Tensor) -> AbstractContextManager[Any]:
    """Whatever is saved for backward within, and is all of ``tensor`` or a view of it, is ``make(*inputs)`` instead.

    ``make`` answers the values of ``tensor`` in its layout, perhaps in more digits; it runs once in backward, without
    recording a gradient.
    The inputs should be tensors that are saved anyway.
    """
    if not tensor.requires_grad or recomputing() or getattr(_here, "keeping", False):
        return nullcontext()
    lodging = current()
    held = _Remade(tensor, make, [lodging.pack(value.detach()) for value in inputs], lodging)
    return saved_tensors_hooks(held.pack, held.unpack)


class _Remade:
    """One tensor that is not kept: how to make it, and how many still wait for it in backward."""

    def __init__(self, tensor: Tensor, make: Callable[..., Tensor], inputs: list[Any], lodging: Lodging) -> None:
        self.storage, self.numel = tensor.untyped_storage()._cdata, tensor.numel()  # the plan has tensors without data
        self.make, self.inputs, self.dtype, self.lodging = make, inputs, tensor.dtype, lodging
        self.waiting = 0
        self.made: Tensor | None = None

    def pack(self, saved: Tensor) -> Any:
        if saved.numel() != self.numel or saved.untyped_storage()._cdata != self.storage:
            return self.lodging.pack(saved)
        self.waiting += 1
        return saved.shape, saved.stride()

    def unpack(self, kept: Any) -> Tensor:
        if not isinstance(kept, tuple):
            return self.lodging.unpack(kept)
        if self.made is None:
            with torch.no_grad():
                self.made = self.make(*map(self.lodging.unpack, self.inputs)).to(self.dtype)
        made = self.made.as_strided(*kept)
        self.waiting -= 1
        if not self.waiting:
            self.made = None
        return made


def recomputing() -> bool:
    """Whether this is a block that backward runs again."""
    return getattr(_here, "kept", False)


@contextmanager
def keeping() -> Iterator[None]:
    """Within, nothing is remade: faster, and larger."""
    before, _here.keeping = getattr(_here, "keeping", False), True
    try:
        yield
    finally:
        _here.keeping = before


@contextmanager
def kept() -> Iterator[None]:
    """Within, everything is kept: for whole blocks that are recomputed, where remaking parts would only cost."""
    before, _here.kept = recomputing(), True
    try:
        yield
    finally:
        _here.kept = before
