"""Training the normalizations only."""

from __future__ import annotations

from torch import nn

from ..core.errors import ConfigError
from ..nn.model import Model
from ..nn.norms import Norm
from ..nn.sites import bare
from . import ADAPTERS
from .choosing import Choosing, parameters


@ADAPTERS.add("norms_only")
class NormsOnly(Choosing):
    """Trains scales and shifts of every normalization, those of queries and keys included, and nothing else.

    y = norm(x) · (w + Δw) + b + Δb,  Δ = 0 at the start.

    Raises: ConfigError for a model without normalizations.
    Source: Qi et al. 2022, arXiv:2211.08682, §3 (LN-tuning); Zhao et al. 2023, arXiv:2312.11420, §3.
    Truth:  tests/truth/test_peft_choosing.py (counts of scales in closed form; all else equal bit by bit).
    """

    def chosen(self, model: Model) -> dict[str, nn.Parameter]:
        of_norms = {id(p) for part in bare(model) if isinstance(part, Norm) for p in part.parameters(recurse=False)}
        found = {n: p for n, p in parameters(model).items() if id(p) in of_norms}
        if not found:
            raise ConfigError(
                f"adapter norms_only: this {model.recipe.family} has no normalizations; use adapter: last_layers"
            )
        return found
