"""A model and its tokenizer to a GGUF file, which llama.cpp and what is built on it open."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...core import gguf
from ...core.errors import CheckpointError, ConfigError, ShapeError
from ...core.files import expect_room
from ...nn.model import Model
from ..recipe import Recipe
from ..weights import kept, stored
from ..writing import plain
from .architectures import ARCHITECTURES, fitting
from .reading import OWN, entries_of
from .weight_types import NATIVE, TYPES, Packed, Type, chosen, named

if TYPE_CHECKING:
    from ...tokenize import Tokenizer

FULL = ("position_embd.weight", "ffn_gate_inp.weight")
"""What llama.cpp keeps in full precision, being small: ends of names."""


def save_gguf(
    model: Model, tokenizer: Tokenizer, path: str | Path, *, type: str | None = None, overwrite: bool = False
) -> Path:
    """Writes a file that is whole or not there; without adapters.

    ``type`` is that of matrices, the model's own unless given; a matrix whose rows are not whole blocks of it takes
    another (q4_0 instead of q4_k, f16 instead of others), which the log says; what scores tokens has 8 bits at least.
    Raises: ConfigError with the reason if llama.cpp cannot run the model or its tokenizer, ShapeError if the
    vocabulary is wider than the model, CheckpointError if the file is there (unless ``overwrite``).
    """
    from ...tokenize.gguf import vocabulary

    if Path(path).is_dir():
        raise CheckpointError(f"{path}: is a folder; name the file to write, for example {path}/model.gguf")
    expect_room(path, overwrite=overwrite)
    name = fitting(model.recipe)
    assert isinstance(model.recipe, Recipe)
    architecture = ARCHITECTURES[name]()
    wanted = named(type) if type else TYPES[NATIVE[next(model.parameters()).dtype]]
    if tokenizer.vocab_size > model.dims.vocab:
        raise ShapeError(
            f"the tokenizer has {tokenizer.vocab_size} tokens, the model only {model.dims.vocab}; grow the model first "
            "(danlu.models.grow)"
        )
    fields = {f"{name}.{key}": value for key, value in architecture.fields(model.recipe).items()}
    general = {
        "general.name": Path(path).stem,
        "general.file_type": wanted.file,
        "general.quantization_version": 2,
        OWN: json.dumps(model.recipe.write(), sort_keys=True),
    }
    beside = architecture.beside(model.recipe)
    types = _types(model, wanted, name) | {tensor: (TYPES["f32"], beside[tensor].shape) for tensor in beside}
    plan = {tensor: gguf.Planned(tuple(shape), kind.name) for tensor, (kind, shape) in types.items()}
    said = {**general, **fields, **vocabulary(tokenizer, model.dims.vocab, model.notes.stops)}
    gguf.write(Path(path), name, said, plan, _packed(model, name, types, beside))
    return Path(path)


def _types(model: Model, wanted: Type, name: str) -> dict[str, tuple[Type, tuple[int, ...]]]:
    """The type and shape of each tensor."""
    hollow = {key: torch.empty(m.out_features, m.in_features, device="meta") for key, m in kept(model).items()}
    parameters = {**stored(model), **hollow}
    entries = entries_of(model, ARCHITECTURES[name]())
    scorer = "output.weight" if any(entry.name == "output.weight" for entry in entries) else "token_embd.weight"
    found = {}
    for entry in entries:
        shape = entry.shape([part.shape for part in entry.of(parameters)])
        kind = TYPES["f32"] if entry.name.endswith(FULL) else chosen(wanted, shape, head=entry.name == scorer)
        found[entry.name] = kind, shape
    odd = [key for key, (_, shape) in found.items() if len(shape) > 1 and shape[-1] % wanted.block]
    if odd:
        logging.getLogger("danlu").warning(
            "GGUF: the rows of %d matrices are no whole blocks of %d numbers (%s …), so they are kept in another type "
            "than %s", len(odd), wanted.block, odd[0], wanted.name,
        )  # fmt: skip
    return found


def _packed(
    model: Model, name: str, types: dict[str, tuple[Type, tuple[int, ...]]], beside: dict[str, Tensor]
) -> Iterator[Packed]:
    """The bytes of each tensor, made when they are written."""
    parameters, maps = stored(model), kept(model)
    for entry in entries_of(model, ARCHITECTURES[name]()):
        whole = entry.pack(plain(entry, parameters, maps)).detach().cpu().float()
        if not torch.isfinite(whole).all():
            raise ConfigError(f"the tensor {entry.name!r} holds numbers that are not finite; train or repair it first")
        yield types[entry.name][0].pack(whole)
    for tensor in beside.values():
        yield tensor.float().numpy()
