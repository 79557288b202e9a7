"""Scheduled sampling: a decoder learns to go on after its own words."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.batch import Batch
from ..core.errors import ConfigError, unknown
from ..nn.layout import Layout
from ..nn.model import Model
from . import OBJECTIVES, Loss, Objective
from .tokens import token_loss
from .vocabulary import Vocabulary

DECAYS: dict[str, Callable[[int, float], float]] = {
    "linear": lambda step, k: 1 - step / k,
    "exponential": lambda step, k: 0.5 ** (step / k),
    "sigmoid": lambda step, k: 1 / (1 + math.exp(min(step / k, 700.0)) / k),
}


@dataclass(frozen=True)
class Mixed(Batch):
    """Rows some of whose tokens give way to the model's own.  own, noise: (B, T); noise uniform in [0, 1)."""

    own: Tensor
    noise: Tensor


@OBJECTIVES.add("scheduled_sampling")
class ScheduledSampling(Objective):
    """Predicts each next token after a text some of whose tokens the model said itself, more of them as steps go by.

    loss = Σ w_t · -log p(x_{t+1} | y_≤t) / Σ w_t, in nats;  y_t = x_t with probability ε, else drawn from the model's
    p(· | y_<t).  ε_i after i steps: linear 1 - i / k, exponential 2^(-i / k), sigmoid k / (k + exp(i / k)); never below
    ``least``.  The model's own tokens are drawn for all places at once, ``passes`` times over: after as many passes as
    tokens they are those of drawing one after the other.

    Reads Batch; the first token of a document stays. In evaluation ε = 1: the loss is that of next_token.
    Raises: ConfigError if a setting is out of range.
    Source: Bengio et al. 2015, arXiv:1506.03099, §2.4; passes: Mihaylova and Martins 2019, arXiv:1906.07651, §3.
    Truth:  tests/truth/test_scheduled_sampling.py (the schedules; passes against drawing one after the other).
    """

    reads = Batch
    codes_text = True

    def __init__(
        self,
        chunk: int = 1024,
        vocabulary: Vocabulary | None = None,
        *,
        decay: str = "linear",
        k: float = 1000.0,
        least: float = 0.75,
        passes: int = 1,
    ) -> None:
        super().__init__(chunk, vocabulary)
        if decay not in DECAYS:
            raise unknown("decay", decay, list(DECAYS), where="objective")
        if k < 1 or not 0 <= least <= 1 or passes < 1:
            raise ConfigError(
                f"the objective scheduled_sampling needs k ≥ 1, 0 ≤ least ≤ 1 and passes ≥ 1, found k {k}, least "
                f"{least} and passes {passes}"
            )
        self.decay, self.k, self.least, self.passes = DECAYS[decay], k, least, passes

    def truth(self, step: int) -> float:
        """ε: the probability that a token stays, after ``step`` steps."""
        return max(self.least, self.decay(step, self.k))

    def sample(self, record: Batch, step: int = 0) -> Mixed:
        coin, noise = torch.rand(*record.tokens.shape, 2).unbind(-1)
        own = (coin >= self.truth(step)) & (record.position > 0) & (record.segment != 0)
        return Mixed(**record.columns, own=own, noise=noise)

    def loss(self, model: Model, batch: Mixed) -> Loss:
        tokens = self.mixed(model, batch) if self.training else batch.tokens
        layout = Layout.of(batch.position, batch.segment)
        return token_loss(model, model.hidden(tokens, layout), batch, layout, self.chunk)

    @torch.no_grad()
    def mixed(self, model: Model, batch: Mixed) -> Tensor:
        """The tokens, those that are not to stay replaced by the model's.  (B, T)"""
        places = batch.own[:, 1:].nonzero(as_tuple=True)
        tokens, noise = batch.tokens, batch.noise[:, 1:][places]
        for _ in range(self.passes if len(noise) else 0):
            layout = Layout.of(batch.position, batch.segment)
            hidden = model.hidden(tokens, layout)[:, :-1][places]  # (N, M), each just before the place
            parts = zip(hidden.split(self.chunk), noise.split(self.chunk), strict=True)
            tokens = batch.tokens.clone()
            tokens[:, 1:][places] = torch.cat([drawn(model.head(h), u) for h, u in parts])
        return tokens


def drawn(logits: Tensor, noise: Tensor) -> Tensor:
    """The token at which the probabilities of a vocabulary, added up, pass the noise.  (N, V), (N,) → (N,)."""
    sums = logits.float().softmax(-1).cumsum(-1)
    at = torch.searchsorted(sums, (noise * sums[:, -1])[:, None], right=True).squeeze(-1)
    return at.clamp(max=logits.shape[-1] - 1)
