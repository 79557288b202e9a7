"""Models to directories that transformers and vLLM open: config.json, safetensors in shards, tokenizer, our recipe."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..core.errors import ConfigError
from ..core.files import new_folder, write_json
from ..nn.model import Model
from ..nn.storages import Stored
from .families import FAMILIES
from .quantized import described, published
from .reading import OWN, entries_of
from .tensors import INDEX, ONE, write_index
from .weights import Entry, kept, stored

if TYPE_CHECKING:
    from ..tokenize import Tokenizer

SHARD = 2 << 30


def save(
    model: Model,
    tokenizer: Tokenizer | None,
    path: str | Path,
    *,
    overwrite: bool = False,
    max_bytes: int = SHARD,
) -> Path:
    """Writes a directory that is either whole or not there, in shards of at most ``max_bytes``; without adapters.

    Raises: CheckpointError if the directory holds something already (unless ``overwrite``), ConfigError if the
    model's family cannot express it.
    """
    with new_folder(path, overwrite=overwrite) as draft:
        write_into(model, tokenizer, draft, max_bytes=max_bytes)
    return Path(path)


def write_into(model: Model, tokenizer: Tokenizer | None, folder: Path, *, max_bytes: int = SHARD) -> None:
    """Everything that belongs to a model directory, into a folder that exists; for checkpoints."""
    write_json(folder / "config.json", config_of(model, tokenizer))
    write_json(folder / OWN, model.recipe.write())
    if generation := _generation(model, tokenizer):
        write_json(folder / "generation_config.json", generation)
    if tokenizer is not None:
        tokenizer.save(folder)
    write_weights(model, folder, max_bytes=max_bytes)


def config_of(model: Model, tokenizer: Tokenizer | None = None) -> dict[str, Any]:
    """config.json in the words of the model's family.

    Raises: ConfigError if the tokenizer's special ids are not those that the model itself is built on.
    """
    published = FAMILIES[model.recipe.family].published
    dtype = next(model.parameters()).dtype
    said, tokens = published.write(model.recipe), _tokens(model, tokenizer)
    for key in published.fixed:
        if key in tokens and said[key] != tokens[key]:
            raise ConfigError(
                f"the tokenizer's {key} is {tokens[key]}, but this {model.recipe.family} is built on {said[key]}; "
                "take the tokenizer that belongs to it, or name the token in a new model's architecture"
            )
    return {
        "architectures": [published.architecture],
        "model_type": published.model_type,
        **said,
        **tokens,
        "torch_dtype": str(dtype).removeprefix("torch."),
        **described(model, entries_of(model), dtype),
    }


def _tokens(model: Model, tokenizer: Tokenizer | None) -> dict[str, Any]:
    """The tokenizer's special ids; those the model came with where there is no tokenizer."""
    if tokenizer is None:
        return dict(model.notes.tokens)
    ids = {"bos_token_id": tokenizer.bos, "eos_token_id": tokenizer.eos, "pad_token_id": tokenizer.pad}
    return {key: value for key, value in ids.items() if value is not None}


def _generation(model: Model, tokenizer: Tokenizer | None) -> dict[str, Any] | None:
    """The generation settings the model came with; whoever generates stops where this tokenizer's answers end."""
    kept = dict(model.notes.generation or {})
    if model.begin is not None:  # transformers 5 looks for it nowhere else
        kept["decoder_start_token_id"] = model.begin
    if tokenizer is None:
        return kept or None
    stops = kept.get("eos_token_id", [])
    stops = list(dict.fromkeys([*tokenizer.stops, *(stops if isinstance(stops, list) else [stops])]))
    return {**kept, **_tokens(model, tokenizer), **({"eos_token_id": stops} if stops else {})}


def write_weights(model: Model, folder: str | Path, *, max_bytes: int = SHARD) -> None:
    """The weights in published names, tied ones once, as one file or as shards with an index."""
    folder, parameters, maps = Path(folder), stored(model), kept(model)
    entries = {entry.name: entry for entry in entries_of(model)}
    sizes = {name: _bytes(entry, parameters, maps) for name, entry in entries.items()}
    shards = _shards(sizes, max_bytes)
    files: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        name = ONE if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors: dict[str, Tensor] = {}
        for entry in map(entries.__getitem__, shard):
            tensors |= published(entry, maps) or {entry.name: entry.pack(plain(entry, parameters, maps))}
        _write(tensors, folder / name)
        files |= dict.fromkeys(tensors, name)
    if len(shards) > 1:
        write_index(folder, files, sum(sizes.values()))
    else:
        (folder / INDEX).unlink(missing_ok=True)


def plain(entry: Entry, parameters: dict[str, Tensor], maps: dict[str, Stored]) -> list[Tensor]:
    """Our tensors of an entry; where it is not published as it is kept, the weights themselves."""
    dtype = next(iter(parameters.values())).dtype
    weights = {name: maps[name].dense().to(dtype) for name in entry.ours if name in maps}
    return [tensor.detach() for tensor in entry.of({**parameters, **weights})]


def _bytes(entry: Entry, parameters: dict[str, Tensor], maps: dict[str, Stored]) -> int:
    buffers = [buffer for name in entry.ours if name in maps for buffer in maps[name].buffers()]
    return sum(tensor.nbytes for tensor in buffers or entry.of(parameters))


def _shards(sizes: dict[str, int], max_bytes: int) -> list[list[str]]:
    """Names of entries, together at most so many bytes where one alone is not more."""
    shards: list[list[str]] = []
    room = 0
    for name, size in sizes.items():
        if not shards or size > room:
            shards.append([])
            room = max_bytes
        shards[-1].append(name)
        room -= size
    return shards


def _write(tensors: dict[str, Tensor], file: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({name: tensor.to("cpu") for name, tensor in tensors.items()}, file, metadata={"format": "pt"})
    except SafetensorError as error:
        if "os error 28" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file)) from None
        raise
