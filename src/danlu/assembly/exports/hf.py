"""hf: a Hugging Face model directory, which transformers and vLLM open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...core.errors import ConfigError
from ...core.registry import Registry
from ...core.spec import Spec, settings_of
from ...models.families import FAMILIES
from ...models.published import Settings
from ...models.recipe import SDPA, Architecture, Recipe
from ...nn.ffns import FFNS
from ...nn.model import Model
from ...nn.norms import NORMS
from ...nn.positions import POSITIONS
from ..consumers import Consumer
from ..consumers.transformers_library import Transformers
from ..loading import load
from ..writing import save
from . import EXPORTS, Export

if TYPE_CHECKING:
    from ...tokenize import Tokenizer

PARTS = {"norm": NORMS, "head_norm": NORMS, "position": POSITIONS, "ffn": FFNS}
"""Whose settings may be left out with the meaning of their defaults."""


@EXPORTS.add("hf")
class Hf(Export):
    """config.json, safetensors, tokenizer, chat template and generation_config.json with all tokens that end answers.

    A model of danlu's own family is written as the published family that computes the same, where there is one.
    Raises: ConfigError if there is none.
    Source: https://huggingface.co/docs/transformers, ``PreTrainedModel.from_pretrained``.
    Truth:  tests/parity/test_exports.py (ids, logits, greedy text, conversations and stops of transformers).
    """

    def write(self, model: Model, tokenizer: Tokenizer, out: Path, *, overwrite: bool) -> None:
        own = model.recipe
        model.recipe = spoken(own)  # type: ignore[assignment]
        try:
            save(model, tokenizer, out, overwrite=overwrite)
        finally:
            model.recipe = own

    def reopened(self, out: Path) -> tuple[Model, Tokenizer]:
        model, tokenizer = load(out, dtype=torch.float32)
        assert tokenizer is not None
        return model, tokenizer

    def consumer(self, out: Path, model: Model) -> Consumer:
        return Transformers(out)

    def tolerance(self) -> float:
        return 1e-3


def spoken(recipe: Architecture) -> Architecture:
    """The recipe in the words of a family that others know; raises ConfigError if none computes what it does."""
    if FAMILIES[recipe.family].published.model_type != "danlu":
        return recipe
    for name in FAMILIES:
        published = FAMILIES[name].published
        candidate = replace(recipe, family=name)
        if published.model_type == "danlu":
            continue
        try:
            read = published.read(Settings(published.write(candidate), name))
        except (ConfigError, AttributeError, TypeError):  # AttributeError: a recipe of another form
            continue
        if isinstance(read, Recipe) and isinstance(candidate, Recipe) and _bare(read) == _bare(candidate):
            return candidate
    raise ConfigError(
        f"no published family computes what this model of family {recipe.family} does, so only danlu opens it; copy "
        "its directory, or train an architecture of a published family (danlu parts family)"
    )


def _bare(recipe: Recipe) -> Recipe:
    """Without what does not change a trained model's answers, and without settings that are as they are by default."""
    plain = replace(recipe, family="", std=0.0, dropout=0.0, kernels=(SDPA,))
    parts = {name: spec for name in PARTS if (spec := getattr(recipe, name)) is not None}
    return replace(plain, **{name: _short(spec, PARTS[name]) for name, spec in parts.items()})


def _short(spec: Spec, registry: Registry[Any]) -> Spec:
    known = settings_of(registry[spec.use])
    return Spec(spec.use, {key: value for key, value in spec.settings.items() if value != known[key].default})
