"""Pairs of texts in one row, and the objectives that ask about both their tokens and themselves."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.batch import Batch
from ..core.errors import ConfigError
from ..nn.layout import Layout
from ..nn.model import Model
from . import OBJECTIVES, Loss, Objective, with_aside
from .documents import Rows, below, texts
from .masking import Masking
from .tokens import predicted
from .vocabulary import Vocabulary

Pair = tuple[Tensor, Tensor, int]
ENDS = 3


@dataclass(frozen=True)
class Pairs(Batch):
    """One pair a row, [CLS] a [SEP] b [SEP], some tokens hidden.  token_type: (B, T), 1 from b on; label: (B,).

    ``counts`` (B,) is how much telling the label counts.
    """

    token_type: Tensor
    label: Tensor
    counts: Tensor


class PairObjective(Objective):
    """Hidden tokens of pairs, and one question about each pair; the mean losses of both are added, as in the papers."""

    reads = Batch

    def __init__(
        self,
        chunk: int = 1024,
        vocabulary: Vocabulary | None = None,
        *,
        share: float = 0.15,
        mask: float = 0.8,
        random: float = 0.1,
    ) -> None:
        super().__init__(chunk, vocabulary)
        who = OBJECTIVES.name_of(self)
        self.masking = Masking(self.vocabulary, who, share=share, mask=mask, random=random)
        self.cls, self.sep = (self.vocabulary.need(role, who) for role in ("cls", "sep"))

    def check(self, model: Model) -> None:
        model.expect_hidden()
        if model.classes != 2:
            raise ConfigError(
                f"the objective {OBJECTIVES.name_of(self)} asks one of two answers about pairs of texts, and this "
                f"{model.recipe.family} scores {model.classes or 'no'} classes; use architecture: {{use: bert, …}}"
            )

    @abstractmethod
    def pair(self, documents: list[Tensor], number: int) -> Pair:
        """Two texts of at least one token each, made of document ``number``, and what is to be told of them."""

    def sample(self, record: Batch, step: int = 0) -> Pairs:
        room = record.tokens.shape[1] - ENDS
        if room < 2:
            raise ConfigError(f"a pair of texts needs rows of at least {ENDS + 2} tokens; raise data.pack.length")
        documents = [document.text for document in texts(record, self.vocabulary, least=2)]
        drawn = [self.pair(documents, number) for number in range(len(documents))]
        parts = [(*_fitting(a, b, room), label) for a, b, label in drawn]
        return self._rows(parts)

    def _rows(self, parts: list[Pair]) -> Pairs:
        cls, sep = torch.tensor([self.cls]), torch.tensor([self.sep])
        rows = Rows(len(parts), tokens=self.vocabulary.roles.get("pad", 0), token_type=0)
        for number, (a, b, _) in enumerate(parts):
            tokens = torch.cat([cls, a, sep, b, sep])
            rows.add(number, tokens=tokens, token_type=(torch.arange(len(tokens)) > len(a) + 1).long())
        columns = rows.columns()
        tokens, targets, weight = self.masking(columns["tokens"], (columns["segment"] > 0).float())
        counts = (weight.sum() / max(1, len(parts))).repeat(len(parts))
        label = torch.tensor([label for *_, label in parts], dtype=torch.long)
        told = {"tokens": tokens, "targets": targets, "weight": weight}
        return Pairs(**{**columns, **told}, label=label, counts=counts)

    def loss(self, model: Model, batch: Pairs) -> Loss:
        layout = Layout.of(batch.position, batch.segment, token_type=batch.token_type)
        hidden = model.hidden(batch.tokens, layout)
        tokens = predicted(model, hidden, batch, self.chunk)
        logits = model.classified(hidden, batch.segment)
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        told = (F.cross_entropy(wide, batch.label, reduction="none") * batch.counts).sum()
        right = ((logits.argmax(-1) == batch.label) * batch.counts).sum()
        metrics = {"masked": tokens.total.detach(), "pairs": told.detach(), "pairs_right": right}
        return with_aside(Loss(tokens.total + told, tokens.weight, metrics), layout)


def halves(text: Tensor) -> tuple[Tensor, Tensor]:
    """A text cut at a random place."""
    cut = 1 + below(len(text) - 1)
    return text[:cut], text[cut:]


def _fitting(a: Tensor, b: Tensor, room: int) -> tuple[Tensor, Tensor]:
    """Both with at most ``room`` tokens together: the longer loses first, at random from its front and its back."""
    if len(a) > len(b):
        b, a = _fitting(b, a, room)
        return a, b
    a = _cut(a, room // 2)
    return a, _cut(b, room - len(a))


def _cut(text: Tensor, most: int) -> Tensor:
    excess = len(text) - most
    front = below(excess + 1) if excess > 0 else 0
    return text[front : front + most]
