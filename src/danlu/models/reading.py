"""Directories to models: config.json to a recipe, safetensors to weights, one tensor at a time."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..core.errors import CheckpointError, ConfigError, DanluError
from ..core.files import read_json
from ..core.gguf import SUFFIX
from ..nn.model import Model
from ..nn.storages import Storage
from .families import FAMILIES, of_type
from .forms import recipe_from
from .hub import located
from .newborn import empty
from .notes import Notes
from .published import TOKENS, Settings
from .quantized import Keeper, held_as, hollow, storage_in
from .recipe import Architecture
from .tensors import INDEX, ONE, names_in, natural, opened, tensors_of
from .weights import Entry, kept, stored

if TYPE_CHECKING:
    from ..tokenize import Tokenizer

OWN = "danlu/recipe.json"
SILENT = r"(^|\.)(rotary_emb\.inv_freq|attn\.(masked_)?bias)$"
"""Buffers that older checkpoints carry and every model makes for itself."""
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")


def load(
    path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    storage: Storage | None = None,
) -> tuple[Model, Tokenizer | None]:
    """The model and tokenizer of a Hugging Face directory, a hub id, a danlu checkpoint or run, or a GGUF file.

    ``dtype`` is the stored one unless given. The tokenizer is None where the directory has none. ``storage`` keeps the
    linear maps of blocks, quantized one by one as they are read, so that the whole model is never in memory.
    Raises: CheckpointError for what is missing, damaged, unsafe or unknown, naming the file, tensor or setting.
    """
    if Path(path).suffix == SUFFIX and Path(path).is_file():
        from .gguf import load_gguf

        return load_gguf(path, dtype=dtype, device=device, storage=storage)
    folder = located(path)
    model = read_model(folder, dtype=dtype, device=device, storage=storage)
    tokenizer = tokenizer_of(folder)
    if tokenizer and tokenizer.vocab_size > model.dims.vocab:
        logging.getLogger("danlu").warning(
            "%s: the tokenizer has %d tokens, the model only %d: those beyond are refused until models.grow adds them",
            folder, tokenizer.vocab_size, model.dims.vocab,
        )  # fmt: skip
    return model, tokenizer


def tokenizer_of(folder: Path) -> Tokenizer | None:
    """The tokenizer in a directory, where there is one."""
    if not any((folder / name).is_file() for name in TOKENIZERS):
        return None
    from ..tokenize import load_tokenizer

    return load_tokenizer(folder)


def read_model(
    folder: Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    storage: Storage | None = None,
) -> Model:
    """The model of a local directory, in evaluation mode; maps are kept in a storage, or as the directory has them."""
    recipe, notes = read_recipe(folder)
    kind = dtype or stored_dtype(folder)
    held = held_as(folder, storage)
    try:
        model = hollow(recipe, kind, device) if held or storage else empty(recipe, dtype=kind, device=device)
    except ConfigError as error:
        raise CheckpointError(f"{folder / 'config.json'}: {error}") from None
    model.notes = notes
    _read(model, folder, Keeper(model, held, storage))
    return model.eval()


def read_recipe(folder: Path) -> tuple[Architecture, Notes]:
    """What config.json says; danlu/recipe.json beside it may say more, but nothing else."""
    where = str(folder / "config.json")
    raw = read_json(where, "the settings of the model")
    if not isinstance(raw, dict) or "model_type" not in raw:
        raise CheckpointError(f"{where}: names no model_type; restore config.json from its source")
    family = of_type(str(raw["model_type"]), where)
    settings = Settings(raw, where, _held(folder))
    if storage_in(raw):
        settings.take("quantization_config", {})
    try:
        recipe = family.published.read(settings)
    except ConfigError as error:
        raise CheckpointError(f"{where}: {error}") from None
    settings.finish()
    generation = folder / "generation_config.json"
    notes = Notes(
        read_json(generation) if generation.is_file() else None,
        {key: raw[key] for key in TOKENS if raw.get(key) is not None},
    )
    return _own(folder, recipe), notes


def _held(folder: Path) -> frozenset[str]:
    """The names of the tensors beside config.json, where there are any."""
    return frozenset(tensors_of(folder)) if any((folder / name).is_file() for name in (ONE, INDEX)) else frozenset()


def _own(folder: Path, recipe: Architecture) -> Architecture:
    """The recipe danlu kept, where it agrees with config.json."""
    if not (folder / OWN).is_file():
        return recipe
    own = recipe_from(read_json(folder / OWN, "the recipe of the model"), str(folder / OWN))
    theirs, ours = (FAMILIES[recipe.family].published.write(r) for r in (recipe, own))
    if own.family != recipe.family or theirs != ours:
        key = next((key for key in theirs if theirs[key] != ours.get(key)), "model_type")
        raise CheckpointError(
            f"{folder}: config.json and {OWN} disagree about {key!r}; remove {OWN} if config.json is right"
        )
    return own


def stored_dtype(folder: Path) -> torch.dtype:
    """The dtype in which most files keep all, and all keep most: that of the first matrix that is not quantized."""
    held = held_as(folder)
    beside = tuple(held.beside) if held else ()
    for file in dict.fromkeys(tensors_of(folder).values()):
        with opened(file) as handle:
            for name in names_in(handle):
                if name.endswith(beside):
                    continue
                part = handle.get_slice(name)
                if len(part.get_shape()) == 2 and part.get_dtype() in DTYPES:
                    return DTYPES[part.get_dtype()]
    return torch.float32


DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def read_into(model: Model, folder: str | Path) -> None:
    """Fills every parameter from the safetensors of a directory, one tensor at a time.

    Raises: CheckpointError naming the first tensor that is missing, unexpected or of another shape.
    """
    folder = Path(folder)
    held = held_as(folder) if kept(model) else None
    _read(model, folder, Keeper(model, held, None))


@torch.no_grad()
def _read(model: Model, folder: Path, keeper: Keeper) -> None:
    files = tensors_of(folder)
    parameters = {**stored(model), **keeper.shapes()}
    for name, entry in _found(model, files, folder, parameters, keeper).items():
        if keeper.beside(name, files):
            keeper.restore(entry, parameters, name, files)
            continue
        with opened(files[name]) as handle:  # anew for each: an open file keeps in memory what was read of it
            keeper.fill(entry, parameters, _pieces(handle, name, entry, parameters, files[name]))


def entries_of(model: Model) -> list[Entry]:
    """The published tensors of this model: the family's table without what this recipe does not have."""
    parameters = {*stored(model), *kept(model)}
    table = FAMILIES[model.recipe.family].published.names(model.recipe)
    entries = [entry for entry in table if parameters.issuperset(entry.ours)]
    named = {name for entry in entries for name in entry.ours}
    assert named == parameters, f"no published name for {sorted(parameters - named)}"
    return entries


def _found(
    model: Model, files: dict[str, Path], folder: Path, parameters: dict[str, Any], keeper: Keeper
) -> dict[str, Entry]:
    """Which tensor of the files fills which entry."""
    published, entries = FAMILIES[model.recipe.family].published, entries_of(model)
    silent, others = re.compile(f"{SILENT}|{published.beside}"), re.compile(published.others)
    found: dict[str, Entry] = {}
    for entry in entries:
        name = next((n for n in _spellings(entry) if keeper.holds(n, files)), None)
        if name is None:
            shape = list(entry.shape([target.shape for target in entry.of(parameters)]))
            raise CheckpointError(
                f"{folder}: the tensor {entry.name!r} of shape {shape} is missing from the weights; "
                "fetch them again, or correct config.json"
            )
        found[name] = entry
    tied = "head.weight" not in parameters
    taken = {*found, *(beside for name in found for beside in keeper.beside(name, files))}
    extra = [n for n in files if n not in taken and not silent.search(n) and not (tied and n == "lm_head.weight")]
    if left := sorted(filter(others.search, extra), key=natural):
        logging.getLogger("danlu").warning(
            "%s: the weights hold %r (%d such) for ends that config.json's architectures do not name: left out",
            folder, left[0], len(left),
        )  # fmt: skip
    if unexpected := sorted(set(extra) - set(left), key=natural):
        raise CheckpointError(
            f"{folder}: the weights hold {unexpected[0]!r} ({len(unexpected)} such), which the model that config.json "
            "describes has no place for; correct config.json, or remove the tensor"
        )
    return found


def _spellings(entry: Entry) -> Iterable[str]:
    """The published name, older ones, and the name without the prefix of the whole model."""
    return entry.name, *entry.aliases, entry.name.removeprefix("model."), *(["lm_head.weight"] if _table(entry) else [])


def _table(entry: Entry) -> bool:
    """Tied weights are sometimes stored under the name of the head only."""
    return entry.ours == ("embed.weight",)


def _pieces(handle: Any, name: str, entry: Entry, parameters: dict[str, Any], file: Path) -> Sequence[Tensor]:
    """Our tensors of a published one."""
    targets = entry.of(parameters)
    expected, shape = entry.shape([target.shape for target in targets]), tuple(handle.get_slice(name).get_shape())
    if shape != expected:
        raise CheckpointError(
            f"{file}: the tensor {name!r} has shape {list(shape)}, config.json asks for {list(expected)}; "
            f"{_remedy(entry, shape, expected)}"
        )
    try:
        return entry.unpack(handle.get_tensor(name), [len(target) for target in targets])
    except RuntimeError as error:
        raise DanluError(f"{file}: the tensor {name!r} cannot be read ({error})") from None


def _remedy(entry: Entry, shape: tuple[int, ...], expected: tuple[int, ...]) -> str:
    if _table(entry) and shape[1:] == expected[1:]:
        return f"the weights have a vocabulary of {shape[0]}, so set vocab_size to that or take the weights that belong"
    return "take the config.json and the weights from the same source"
