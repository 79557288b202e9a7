"""Autoregressive blank infilling, GLM's."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from ..core.batch import IGNORE, Batch
from ..core.errors import ConfigError
from ..nn.layout import Layout
from ..nn.model import Model
from . import OBJECTIVES, Loss, Objective
from .documents import Document, Rows, texts
from .prefix import Prefixed
from .tokens import token_loss
from .vocabulary import Vocabulary


@dataclass(frozen=True)
class Blanks(Prefixed):
    """Texts with blanks, and behind each what stood in its blanks.  inner: (B, T), 0 in the text, from 1 in a span."""

    inner: Tensor


@OBJECTIVES.add("blank")
class Blank(Objective):
    """Reads a text with blanks in both directions, and writes the spans that stood there, one by one, shuffled.

    part A: the text, one mask token a span; part B: each span, in random order, <start> s_1 … s_l → s_1 … s_l <end>.
    loss = Σ over spans and i ≤ l + 1 of -log p(s_i | A, spans before, s_<i) / Σ (l + 1), in nats.
    Lengths l are Poisson(``mean``), at least 1, until ``share`` of the tokens are blank; spans never touch.
    A token of B stands at the position of its mask token, and at inner position i = 1 … l + 1; A at inner position 0.

    Reads Batch, whatever its weights. For models whose mask is causal: A has the order of its last token.
    Raises: ConfigError if the tokenizer lacks mask, start or end, or a setting is out of range.
    Source: Du et al. 2021, arXiv:2103.10360, §2.1 and §2.2.
    Truth:  tests/truth/test_blank.py (the paper's figure 2; samples put together again; gradients show who saw whom).
    """

    reads = Batch

    def __init__(
        self, chunk: int = 1024, vocabulary: Vocabulary | None = None, *, share: float = 0.15, mean: float = 3.0
    ) -> None:
        super().__init__(chunk, vocabulary)
        if not 0 < share < 1 or mean <= 0:
            raise ConfigError(
                f"the objective blank needs 0 < share < 1 and mean > 0, found share {share} and mean {mean}; as in "
                "GLM: 0.15 and 3"
            )
        self.share, self.mean = share, mean
        self.mask, self.start, self.end = (
            torch.tensor([self.vocabulary.need(role, "blank")]) for role in ("mask", "start", "end")
        )

    def sample(self, record: Batch, step: int = 0) -> Blanks:
        fills = {"tokens": self.vocabulary.roles.get("pad", 0), "targets": IGNORE, "order": 0, "inner": 0}
        rows = Rows(len(record), **fills, weight=0.0)
        for document in texts(record, self.vocabulary, least=2):
            self._add(rows, document)
        return Blanks(**rows.columns())

    def _add(self, rows: Rows, document: Document) -> None:
        spans = self.spans(len(document.text))
        columns = self.arranged(document.text, spans, torch.randperm(len(spans)).tolist())
        rows.add(document.row, **columns)

    def spans(self, length: int) -> list[tuple[int, int]]:
        """(start, stop) of the blanks of a text, in order, at least one token between two.  length ≥ 2."""
        wanted = min(max(round(length * self.share), 1), length - 1)
        sizes: list[int] = []
        while (left := wanted - sum(sizes)) > 0:
            sizes.append(min(max(1, int(torch.poisson(torch.tensor(self.mean)))), left))
        kept = length - wanted
        sizes = [*sizes[:kept], sum(sizes[kept:])] if len(sizes) > kept + 1 else sizes
        before = torch.randperm(kept + 1)[: len(sizes)].sort().values.tolist()  # how many kept tokens stand before each
        starts = [at + sum(sizes[:number]) for number, at in enumerate(before)]
        return [(start, start + size) for start, size in zip(starts, sizes, strict=True)]

    def arranged(self, text: Tensor, spans: list[tuple[int, int]], turns: list[int]) -> dict[str, Tensor]:
        """A and B of a text whose spans are written in the order ``turns``, as columns of one row.  (n,) each."""
        stops = [0, *(stop for _, stop in spans)]
        kept = [text[stop:start] for stop, (start, _) in zip(stops[:-1], spans, strict=True)]
        a = torch.cat([*(piece for k in kept for piece in (k, self.mask)), text[stops[-1] :]])
        before = [0, *accumulate(stop - start - 1 for start, stop in spans)]  # tokens that A is shorter by, up to each
        places = torch.tensor([start - short for (start, _), short in zip(spans, before, strict=False)])
        told = [text[start:stop] for start, stop in (spans[turn] for turn in turns)]
        sizes = [len(span) + 1 for span in told]
        given = torch.cat([torch.cat([self.start, span]) for span in told])
        written = len(given)
        return {
            "tokens": torch.cat([a, given]),
            "targets": torch.cat([torch.full_like(a, IGNORE), *(torch.cat([span, self.end]) for span in told)]),
            "weight": torch.cat([torch.zeros(len(a)), torch.ones(written)]),
            "position": torch.cat([torch.arange(len(a)), places[turns].repeat_interleave(torch.tensor(sizes))]),
            "inner": torch.cat([torch.zeros_like(a), *(torch.arange(1, size + 1) for size in sizes)]),
            "order": torch.cat([torch.full_like(a, len(a) - 1), len(a) + torch.arange(written)]),
        }

    def loss(self, model: Model, batch: Blanks) -> Loss:
        layout = Layout.of(batch.position, batch.segment, order=batch.order, inner=batch.inner)
        return token_loss(model, model.hidden(batch.tokens, layout), batch, layout, self.chunk)
