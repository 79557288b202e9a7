"""A GGUF file to a model and its tokenizer, one tensor at a time."""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...core.errors import CheckpointError, ConfigError, unknown
from ...core.gguf import Held, opened
from ...nn.model import Model
from ...nn.storages import Storage
from ..forms import recipe_from
from ..newborn import empty
from ..notes import Notes
from ..quantized import Keeper, hollow
from ..recipe import Recipe
from ..weights import Entry, kept, stored
from .architectures import ARCHITECTURES, Architecture
from .architectures.turning import WAVES
from .fields import Fields

if TYPE_CHECKING:
    from ...tokenize import Tokenizer

OWN = "danlu.recipe"
DTYPES = {1: torch.float16, 30: torch.bfloat16}
ENDS = ("eos", "eot", "eom")
"""Roles of the tokens at which llama.cpp ends an answer."""


def load_gguf(
    path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    storage: Storage | None = None,
) -> tuple[Model, Tokenizer | None]:
    """The model and tokenizer of a GGUF file; weights that are kept in fewer bits become what llama.cpp reads in them.

    ``dtype`` is the one in which most matrices are kept, fp32 for those in fewer bits. ``storage`` keeps the linear
    maps of blocks, quantized one by one as they are read.
    Raises: CheckpointError for what is cut, missing, of another shape or not built, naming field or tensor.
    """
    with opened(path) as file:
        fields = Fields(file)
        architecture = _architecture(fields)
        recipe = _recipe(fields, architecture)
        kind = dtype or _dtype(file.tensors.values())
        try:
            model = hollow(recipe, kind, device) if storage else empty(recipe, dtype=kind, device=device)
        except ConfigError as error:
            raise CheckpointError(f"{path}: {error}") from None
        model.notes = _notes(file.fields)
        _fill(model, fields, architecture, Keeper(model, None, storage))
    return model.eval(), _tokenizer(Path(path), file.fields)


def entries_of(model: Model, architecture: Architecture) -> list[Entry]:
    """The tensors of a file for this model: those of the architecture without what its recipe does not have."""
    assert isinstance(model.recipe, Recipe)
    parameters = {*stored(model), *kept(model)}
    entries = [entry for entry in architecture.entries(model.recipe) if parameters.issuperset(entry.ours)]
    left = parameters - {name for entry in entries for name in entry.ours}
    assert not left, f"no name in GGUF for {sorted(left)}"
    return entries


def _architecture(fields: Fields) -> Architecture:
    if fields.architecture not in set(ARCHITECTURES):
        raise CheckpointError(
            str(unknown("architecture", fields.architecture, list(ARCHITECTURES), where=fields.where))
        )
    return ARCHITECTURES[fields.architecture]()


def _recipe(fields: Fields, architecture: Architecture) -> Recipe:
    """What the fields say; of a file that danlu wrote the recipe itself, where both agree."""
    try:
        found = architecture.read(fields)
    except ConfigError as error:
        raise CheckpointError(f"{fields.where}: {error}") from None
    said = fields.file.fields.get(OWN)
    if not isinstance(said, str):
        return found
    try:
        own = recipe_from(json.loads(said), f"{fields.where} ({OWN})")
    except (ValueError, ConfigError) as error:
        raise CheckpointError(f"{fields.where}: {OWN} cannot be read ({error}); fetch the file again") from None
    same = isinstance(own, Recipe) and architecture.refuses(own) is None and _agree(own, fields, architecture)
    return own if same else found  # type: ignore[return-value]


def _agree(own: Recipe, fields: Fields, architecture: Architecture) -> bool:
    said = architecture.fields(own)
    pairs = [(fields.take(key, value), value) for key, value in said.items()]
    return all(math.isclose(a, b, rel_tol=1e-5) if isinstance(b, float) else a == b for a, b in pairs)


def _dtype(tensors: Collection[Held]) -> torch.dtype:
    kinds = Counter(held.type for held in tensors if len(held.shape) > 1)
    return DTYPES.get(kinds.most_common(1)[0][0], torch.float32) if kinds else torch.float32


@torch.no_grad()
def _fill(model: Model, fields: Fields, architecture: Architecture, keeper: Keeper) -> None:
    parameters = {**stored(model), **keeper.shapes()}
    entries = entries_of(model, architecture)
    left = set(fields.file.tensors) - {entry.name for entry in entries} - {WAVES}
    if left:
        raise CheckpointError(
            f"{fields.where}: holds the tensor {min(left)!r} ({len(left)} such), for which {fields.architecture} has "
            "no place here; take another file of the model"
        )
    for entry in entries:
        targets = entry.of(parameters)
        expected = entry.shape([target.shape for target in targets])
        found = fields.file.tensors.get(entry.name)
        if found is None or found.shape != expected:
            what = "is missing" if found is None else f"has shape {list(found.shape)}"
            raise CheckpointError(
                f"{fields.where}: the tensor {entry.name!r} {what}, its fields ask for {list(expected)}; fetch the "
                "file again"
            )
        pieces = entry.unpack(fields.tensor(entry.name), [len(target) for target in targets])
        keeper.fill(entry, parameters, pieces)


def _notes(raw: dict[str, Any]) -> Notes:
    roles = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    tokens = {key: raw[name] for key, role in roles.items() if (name := f"tokenizer.ggml.{role}_token_id") in raw}
    stops = [raw[name] for role in ENDS if (name := f"tokenizer.ggml.{role}_token_id") in raw]
    return Notes({"eos_token_id": list(dict.fromkeys(stops))} if stops else None, tokens)


def _tokenizer(path: Path, raw: dict[str, Any]) -> Tokenizer | None:
    if raw.get("tokenizer.ggml.model", "none") in ("none", "no_vocab"):
        logging.getLogger("danlu").warning("%s: holds no tokenizer", path)
        return None
    from ...tokenize import load_tokenizer

    return load_tokenizer(path)
