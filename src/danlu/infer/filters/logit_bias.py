"""Single tokens made likelier or less likely by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ...core.errors import ConfigError
from ..rows import Row
from . import FILTERS, Filter


@FILTERS.add("logit_bias")
class LogitBias(Filter):
    """Adds a number to the logits of the tokens that are named: -100 all but forbids one, 100 all but forces it.

    logit_i → logit_i + b_i.  logits: (B, V); ids beyond V are left out.
    Raises: ConfigError if an id is below 0 or a number is not finite.
    Source: OpenAI 2020, API reference, ``logit_bias``.
    Truth:  tests/parity/test_filters.py (transformers' SequenceBiasLogitsProcessor on single tokens).
    """

    order = 1
    neutral = ()
    strong = ((0, 50.0), (3, -50.0))
    wrong = (((-1, 1.0),), ((1, float("nan")),))

    def __init__(self, *, value: Mapping[int, float] | Sequence[tuple[int, float]]) -> None:
        self.value = dict(value)
        for token, bias in self.value.items():
            if token < 0 or not abs(bias) < float("inf"):
                raise ConfigError(f"logit_bias {token}: {bias}: must be a token id and a finite number")

    def __call__(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        known = [token for token in self.value if token < logits.shape[-1]]
        added = torch.tensor([self.value[token] for token in known], dtype=logits.dtype, device=logits.device)
        return logits.index_add(
            -1, torch.tensor(known, dtype=torch.long, device=logits.device), added.expand(len(logits), -1)
        )
