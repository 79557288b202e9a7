"""Models to the forms that other programs open, and compared in them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..core.errors import CheckpointError, ConfigError
from ..core.files import expect_room
from ..models.hub import located
from ..models.reading import stored_dtype
from ..nn.model import Model
from .comparing import Agreement, agreement
from .exports import Export
from .loading import adapter_folder, base_of, load
from .merging import merge
from .verifying import said

if TYPE_CHECKING:
    from ..tokenize import Tokenizer

STEPS = 24
"""Tokens that both are asked for."""


@dataclass(frozen=True)
class Verdict:
    """How far the export moved the logits of the model itself, how its consumer agrees, and what else was checked."""

    moved: float
    agreement: Agreement
    also: tuple[str, ...]


def export(
    path: str | Path,
    out: str | Path,
    form: Export,
    *,
    base: str | None = None,
    dtype: torch.dtype | None = None,
    verify: str | None = None,
    overwrite: bool = False,
) -> Verdict | None:
    """Writes a model (with its adapter merged, if it is an adapter's folder) in a form.

    ``verify`` is a prompt: what was written is then opened by danlu and by its consumer, which must agree on ids of
    texts, conversations, stops, the law of the next token and greedy text.
    Raises: ConfigError if the model cannot have the form, CheckpointError if ``out`` holds something (unless
    ``overwrite``), or naming the first thing on which the consumer does not agree.
    """
    expect_room(out, overwrite=overwrite)
    model, tokenizer = whole(path, base=base, dtype=dtype)
    if tokenizer is None:
        raise ConfigError(f"{path}: has no tokenizer, without which nobody else can use it; put one beside it")
    prompt = [] if verify is None else (tokenizer.encode(verify, special=True) or [0])[: model.dims.context // 2]
    before = said(model, prompt, 0) if prompt else None
    form.write(model, tokenizer, Path(out), overwrite=overwrite)
    if before is None or verify is None:
        return None
    return _verified(Path(out), form, before.logits, prompt, verify)


def whole(
    path: str | Path, *, base: str | None = None, dtype: torch.dtype | None = None
) -> tuple[Model, Tokenizer | None]:
    """A model without adapters: that of an adapter's folder has it merged, in full precision, rounded once."""
    folder = adapter_folder(path)
    if folder is None:
        return load(path, dtype=dtype)
    model, tokenizer = load(folder, base=base, dtype=torch.float32)
    kept = dtype or stored_dtype(located(base_of(folder, base).path))
    return merge(model).to(kept).eval(), tokenizer


def _verified(out: Path, form: Export, before: torch.Tensor, prompt: list[int], text: str) -> Verdict:
    model, tokenizer = form.reopened(out)
    if model.begin is not None or model.foresees:
        raise CheckpointError(f"{out}: was written, but only decoders are compared; open it with its own program")
    moved = float((said(model, prompt, 0).logits - before).abs().max())
    with closing(form.consumer(out, model)) as consumer:
        stops = {*tokenizer.stops, *model.notes.stops}
        agreed = agreement(consumer, model, tokenizer, text, steps=STEPS, tolerance=form.tolerance(), stops=stops)
    return Verdict(moved, agreed, tuple(form.also(out, tokenizer)))
