"""Training the bias terms only."""

from __future__ import annotations

from torch import nn

from ..core.errors import ConfigError
from ..nn.model import Model
from . import ADAPTERS
from .choosing import Choosing, parameters


@ADAPTERS.add("bitfit")
class BitFit(Choosing):
    """Trains every bias of the model, those of norms included, and nothing else.

    y = W x + b + Δb,  Δb = 0 at the start: one number a channel.

    Raises: ConfigError for a model without biases.
    Source: Ben Zaken et al. 2021, arXiv:2106.10199, §3.
    Truth:  tests/truth/test_peft_choosing.py (counts of biases in closed form; all else equal bit by bit).
    """

    def chosen(self, model: Model) -> dict[str, nn.Parameter]:
        found = {n: p for n, p in parameters(model).items() if n.rpartition(".")[2].startswith("bias")}
        if not found:
            raise ConfigError(
                f"adapter bitfit: this {model.recipe.family} has no biases; train its norms with adapter: norms_only"
            )
        return found
