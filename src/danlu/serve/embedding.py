"""Texts to vectors of length one, by the hidden states of the served model."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from ..nn.layout import Layout
from ..nn.model import Model
from ..peft.attached import acting_as

POOLINGS = ("mean", "last", "first")


def embedded(model: Model, ids: Sequence[int], *, adapters: Sequence[str], pooling: str) -> Tensor:
    """The vector of one text: of the states of its tokens the mean, the last or the first, over its length.  (M,)

    One text a pass, so that it does not depend on its company.
    """
    tokens = torch.tensor([list(ids)], device=next(model.parameters()).device)
    with torch.inference_mode(), _acting(model, adapters):
        layout = Layout.dense(tokens)
        states = model.hidden(tokens, layout) if model.begin is None else model.read(tokens, layout).hidden
    states = states[0].float()  # (T, M)
    picked = states.mean(0) if pooling == "mean" else states[-1 if pooling == "last" else 0]
    return torch.nn.functional.normalize(picked, dim=0).cpu()


def shortened(vector: Tensor, dimensions: int | None) -> Tensor:
    """Its first numbers, again of length one."""
    return vector if dimensions is None else torch.nn.functional.normalize(vector[:dimensions], dim=0)


def spelled(vector: Tensor) -> str:
    """Little-endian fp32 in base64, as OpenAI's client asks for by itself."""
    return base64.b64encode(vector.contiguous().numpy().astype("<f4").tobytes()).decode()


def _acting(model: Model, adapters: Sequence[str]) -> AbstractContextManager[None]:
    return nullcontext() if model.switch is None else acting_as(model, *adapters)
