"""A base in a directory, and folders of adapters trained on it: for the tests of opening, switching and merging."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from talkers import small_model, small_tokenizer

from danlu import assembly, models
from danlu.assembly.folder import base_at
from danlu.core.spec import Spec
from danlu.nn.model import Model
from danlu.peft.attached import attach


def base_in(folder: Path, use: str = "llama", **sizes: Any) -> Path:
    """A model directory with a tokenizer."""
    return models.save(small_model(use, **sizes), small_tokenizer(folder.parent / "tokenizer"), folder)


def moved(model: Model, seed: int = 5, by: float = 0.3) -> Model:
    """Whatever trains, no more as it was born."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * by)
    return model.eval()


def adapter_in(folder: Path, base: Path, spec: dict[str, Any], also: Sequence[str] = (), seed: int = 5) -> Path:
    """The folder of an adapter that has learned something."""
    model, tokenizer = models.load(base)
    torch.manual_seed(seed)
    attach(model, Spec.read(spec), also=also, base=base_at(str(base)))
    return assembly.save(moved(model, seed), tokenizer, folder)
