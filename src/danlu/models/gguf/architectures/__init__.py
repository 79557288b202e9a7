"""One file an architecture of llama.cpp: its fields and tensors, to a recipe of ours and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from ....core.errors import ConfigError
from ....core.registry import Registry
from ...recipe import Recipe
from ...weights import Entry
from ..fields import Fields


class Architecture(ABC):
    """How llama.cpp knows a kind of models; fields are named without the architecture before them."""

    @abstractmethod
    def refuses(self, recipe: Recipe) -> str | None:
        """Why llama.cpp would not compute what this recipe does; None if it would."""

    @abstractmethod
    def fields(self, recipe: Recipe) -> dict[str, Any]:
        """What llama.cpp must know of a recipe that is not refused."""

    @abstractmethod
    def read(self, fields: Fields) -> Recipe:
        """The recipe of a file; raises CheckpointError for what is missing or not built."""

    @abstractmethod
    def entries(self, recipe: Recipe) -> list[Entry]:
        """Where every tensor of a file goes; of tensors that a recipe does not have, the model has no parameters."""

    def beside(self, recipe: Recipe) -> dict[str, Tensor]:
        """Tensors of a file that no parameter of ours holds."""
        return {}


ARCHITECTURES: Registry[type[Architecture]] = Registry("GGUF architecture", Architecture, __name__)


def fitting(recipe: Any) -> str:
    """The name of the architecture that computes what a recipe does.

    Raises: ConfigError with the reasons if there is none.
    """
    if not isinstance(recipe, Recipe):
        raise ConfigError(f"llama.cpp is written decoders only, found a model of form {recipe.form}; export it as hf")
    reasons = {name: ARCHITECTURES[name]().refuses(recipe) for name in ARCHITECTURES}
    fits = [name for name, reason in reasons.items() if reason is None]
    if not fits:
        near = recipe.family if recipe.family in reasons else "llama"
        raise ConfigError(f"llama.cpp cannot run this model: {reasons[near]}; export it as hf, which vLLM serves")
    return recipe.family if recipe.family in fits else fits[0]
