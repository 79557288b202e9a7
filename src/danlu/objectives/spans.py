"""Span corruption, T5's."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.batch import IGNORE, Batch, Seq2Seq
from ..core.errors import ConfigError
from ..nn.layout import Layout
from ..nn.model import Model
from . import OBJECTIVES, Loss, Objective
from .documents import Rows, texts
from .tokens import token_loss
from .vocabulary import Vocabulary


@OBJECTIVES.add("spans")
class Spans(Objective):
    """Reads documents with gaps, each marked by a sentinel of its own, and writes what stood in the gaps.

    of n tokens  noise = round(n · share) in round(noise / mean) spans, at least 1 each;
    source = kept_1 S_1 kept_2 S_2 … eos,  target = S_1 span_1 S_2 span_2 … eos;  loss = mean of -log p, in nats.
    Lengths of kept and of spans are random partitions; the first tokens are kept, the last ones noise. Sentinels are
    <extra_id_0>, … of the tokenizer, or counted down from the last of its ids: ``sentinels`` of them.

    Reads Batch, whatever its weights; needs an encoder-decoder.
    Raises: ConfigError if the model has no encoder, the tokenizer no eos, or a document more gaps than there are
    sentinels; or if a setting is out of range.
    Source: Raffel et al. 2019, arXiv:1910.10683, §3.1.4 and §3.3.4 (random spans).
    Truth:  tests/truth/test_spans.py (lengths and sentinels of T5's own tests; gaps filled in again).
    """

    reads = Batch

    def __init__(
        self,
        chunk: int = 1024,
        vocabulary: Vocabulary | None = None,
        *,
        share: float = 0.15,
        mean: float = 3.0,
        sentinels: int | None = None,
    ) -> None:
        super().__init__(chunk, vocabulary)
        if not 0 < share < 1 or mean < 1:
            raise ConfigError(
                f"the objective spans needs 0 < share < 1 and mean ≥ 1, found share {share} and mean {mean}; as in T5: "
                "0.15 and 3"
            )
        self.share, self.mean = share, mean
        size, named = self.vocabulary.size, self.vocabulary.sentinels
        self.sentinels = torch.tensor(named if sentinels is None else range(size - 1, size - 1 - sentinels, -1))
        self.pad = self.vocabulary.roles.get("pad", 0)
        self.eos = torch.tensor([self.vocabulary.need("eos", "spans")])
        if not len(self.sentinels):
            raise ConfigError(
                "the objective spans marks gaps by sentinels and the tokenizer has no <extra_id_0>, <extra_id_1>, …; "
                "train one with danlu tokenizer train … --special '<extra_id_0>' and so on, or give "
                "objective.sentinels = N to take the last N ids"
            )

    def check(self, model: Model) -> None:
        if model.begin is None:
            raise ConfigError(
                f"the objective spans needs a model that reads before it writes, and {type(model).__name__} has no "
                "encoder; use architecture: {use: t5, …}"
            )

    def sample(self, record: Batch, step: int = 0) -> Seq2Seq:
        sources = Rows(len(record), tokens=self.pad)
        targets = Rows(len(record), tokens=self.pad, targets=IGNORE, weight=0.0)
        for document in texts(record, self.vocabulary, least=2):
            noise = noise_mask(len(document.text), self.share, self.mean)
            sources.add(document.row, tokens=torch.cat([self.gapped(document.text, noise), self.eos]))
            told = torch.cat([self.gapped(document.text, ~noise), self.eos])
            given = torch.cat([self.eos, told[:-1]])  # the first gives way to the token that the model begins with
            targets.add(document.row, tokens=given, targets=told, weight=torch.ones(len(told)))
        source = sources.columns()
        return Seq2Seq(source["tokens"], source["segment"], source["position"], Batch(**targets.columns()))

    def gapped(self, text: Tensor, noise: Tensor) -> Tensor:
        """The text with each run of noise given way to a sentinel, the first to the first.  (n,) each."""
        starts = noise & ~torch.cat([torch.tensor([False]), noise[:-1]])
        if (count := int(starts.sum())) > len(self.sentinels):
            raise ConfigError(
                f"a document of {len(text)} tokens has {count} gaps and there are only {len(self.sentinels)} "
                "sentinels; train the tokenizer with more, lower data.pack.length, or raise objective.mean"
            )
        out = text.clone()
        out[starts] = self.sentinels[:count]
        return out[starts | ~noise]

    def loss(self, model: Model, batch: Seq2Seq) -> Loss:
        assert model.begin is not None
        memory = model.read(batch.source, Layout.of(batch.source_position, batch.source_segment))
        target = batch.target
        begins = (target.position == 0) & (target.segment > 0)
        layout = Layout.of(target.position, target.segment, memory=memory)
        hidden = model.hidden(target.tokens.masked_fill(begins, model.begin), layout)
        return token_loss(model, hidden, target, layout, self.chunk)


def noise_mask(length: int, share: float, mean: float) -> Tensor:
    """bool (length,): which tokens are noise; at least one is and one is not.  length ≥ 2."""
    noise = min(max(round(length * share), 1), length - 1)
    spans = min(max(round(noise / mean), 1), length - noise)
    parts = torch.stack([segmentation(length - noise, spans), segmentation(noise, spans)], 1).flatten()
    return torch.tensor([False, True]).repeat(spans).repeat_interleave(parts)


def segmentation(items: int, segments: int) -> Tensor:
    """Lengths, none 0, of ``segments`` parts of ``items`` in a row: every partition equally likely."""
    cuts = torch.randperm(items - 1)[: segments - 1].sort().values + 1
    return torch.cat([torch.tensor([0]), cuts, torch.tensor([items])]).diff()
