"""What a model and its adapters are, to the number."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

import torch
from torch import Tensor

from ..nn.model import Model
from ..nn.sites import own
from ..peft.attached import acting_as, state_of


@torch.no_grad()
def fingerprint(model: Model, adapters: Sequence[str] = ()) -> str:
    """What a model and these adapters are, to the number: another one has another."""
    total = blake2b(digest_size=16)
    for name, tensor in _numbers(model, adapters):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(_raw(tensor))
    total.update(repr(model.recipe).encode())
    return total.hexdigest()


def _numbers(model: Model, adapters: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    if model.switch is None:
        yield from own(model)
        return
    with acting_as(model):
        yield from own(model)
    for number, name in enumerate(adapters):
        settings = json.dumps(model.switch.adapters[name].spec.write(), sort_keys=True)
        yield f"{number} {settings}", torch.empty(0)
        yield from sorted(state_of(model, name).items())


def digest(tensors: Iterable[Tensor]) -> str:
    """What these numbers are, in order."""
    total = blake2b(digest_size=16)
    for tensor in tensors:
        total.update(_raw(tensor))
    return total.hexdigest()


def _raw(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
